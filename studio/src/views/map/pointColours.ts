/** Colours of the points by a column, and the legend. */

import type { Numbers } from "../../backend";
import { CLASSES, classColour, hex, viridis } from "../../colours";

/** Number of colours of the numeric scale. */
const STEPS = 64;
/** Quantiles at the ends of the scale, so that outliers do not compress it. */
const ENDS = [0.01, 0.99] as const;
/** The colour of missing values. */
export const NONE = "#9a9a9a";

export interface PointColours {
  /** The palette index of each item. */
  of: Uint16Array;
  palette: string[];
  legend: ClassLegend | NumberLegend | null;
}

export interface ClassLegend {
  kind: "classes";
  names: string[];
  counts: number[];
  /** Whether there are more classes than colours. */
  shared: boolean;
}

export interface NumberLegend {
  kind: "numbers";
  low: number;
  high: number;
  /** Whether values lie below or above the scale. */
  beyond: [boolean, boolean];
  missing: number;
}

/** One colour for all points. */
export function plain(n: number): PointColours {
  return { of: new Uint16Array(n), palette: [classColour(0)], legend: null };
}

export function byClass(values: Numbers, names: string[]): PointColours {
  const counts = new Array<number>(names.length).fill(0);
  const of = Uint16Array.from(values, (v) => (v >= 0 && v < names.length ? v : names.length));
  for (const k of of) if (k < names.length) counts[k]++;
  const palette = [...names.map((_, k) => classColour(k)), NONE];
  return { of, palette, legend: { kind: "classes", names, counts, shared: names.length > CLASSES.length } };
}

export function byNumber(values: Numbers): PointColours {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  const last = Math.max(0, sorted.length - 1);
  const [low, high] = ENDS.map((share) => sorted[Math.round(share * last)] ?? 0);
  const step = STEPS / (high - low || 1);
  const of = Uint16Array.from(values, (v) =>
    Number.isFinite(v) ? Math.min(STEPS - 1, Math.max(0, Math.floor((v - low) * step))) : STEPS,
  );
  const palette = Array.from({ length: STEPS }, (_, k) => hex(viridis(k / (STEPS - 1))));
  const beyond: [boolean, boolean] = [sorted[0] < low, sorted[last] > high];
  const missing = values.length - sorted.length;
  return { of, palette: [...palette, NONE], legend: { kind: "numbers", low, high, beyond, missing } };
}

/** The faded points: those outside the highlighted class or the selection. */
export function faded(colours: PointColours, highlighted: number | null, lasso: Int32Array): Uint8Array | null {
  if (highlighted === null && !lasso.length) return null;
  const out = Uint8Array.from(colours.of, (k) => (highlighted !== null && k !== highlighted ? 1 : 0));
  if (!lasso.length) return out;
  const inside = new Uint8Array(out.length);
  for (const row of lasso) inside[row] = 1;
  return out.map((v, i) => v | (1 - inside[i]));
}
