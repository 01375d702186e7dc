/** What colours the points: the shade of each by a column, and what the legend says of it. */

import type { Numbers } from "../../backend";
import { CLASSES, classColour, hex, viridis } from "../../colours";

/** Steps of the scale of numbers. */
const STEPS = 64;
/** Numbers beyond these shares have the colour of the ends: one wild value hides nothing. */
const ENDS = [0.01, 0.99] as const;
/** Of what has no value. */
export const NONE = "#9a9a9a";

export interface Shades {
  /** The place of each item's colour in the palette. */
  of: Uint16Array;
  palette: string[];
  legend: ClassLegend | NumberLegend | null;
}

export interface ClassLegend {
  kind: "classes";
  names: string[];
  counts: number[];
  /** Whether classes share colours, there being more of them than colours. */
  shared: boolean;
}

export interface NumberLegend {
  kind: "numbers";
  low: number;
  high: number;
  /** Whether there are numbers beyond the ends. */
  beyond: [boolean, boolean];
  missing: number;
}

/** All points alike. */
export function plain(n: number): Shades {
  return { of: new Uint16Array(n), palette: [classColour(0)], legend: null };
}

export function byClass(values: Numbers, names: string[]): Shades {
  const counts = new Array<number>(names.length).fill(0);
  const of = Uint16Array.from(values, (v) => (v >= 0 && v < names.length ? v : names.length));
  for (const k of of) if (k < names.length) counts[k]++;
  const palette = [...names.map((_, k) => classColour(k)), NONE];
  return { of, palette, legend: { kind: "classes", names, counts, shared: names.length > CLASSES.length } };
}

export function byNumber(values: Numbers): Shades {
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

/** Which points are faded: other classes than the one alone, and what the lasso left out. */
export function faded(shades: Shades, alone: number | null, lasso: Int32Array): Uint8Array | null {
  if (alone === null && !lasso.length) return null;
  const out = Uint8Array.from(shades.of, (k) => (alone !== null && k !== alone ? 1 : 0));
  if (!lasso.length) return out;
  const inside = new Uint8Array(out.length);
  for (const row of lasso) inside[row] = 1;
  return out.map((v, i) => v | (1 - inside[i]));
}
