/** Which latents are shown, what they are called, and how codes lie along them. */

import { useMemo } from "preact/hooks";
import type { Backend } from "../backend";
import { rangeOf } from "../latent";
import { backend, manifest } from "../state";
import { useAnswer } from "../Thing";
import { histogram, silhouette } from "./counts";

/** Latents shown before somebody asks for all. */
export const FEW = 32;
const SEEN = 2000; // codes behind the grey shapes
const BINS = 48;

/** What a latent is called, as in the report. */
export function nameOf(j: number): string {
  return `z${j + 1}`;
}

/** A value of a latent, always two decimals so that it does not jump. */
export function readout(value: number): string {
  const text = value.toFixed(2);
  return Number(text) < 0 ? text.replace("-", "−") : text.replace("-", "");
}

/** The latents a filter such as "7, 40-60" names, in the given order; none named: the first few. */
export function shownLatents(order: number[], filter: string, all: boolean): number[] {
  const wanted = new Set<number>();
  for (const [, from, to] of filter.matchAll(/z?(\d+)(?:\s*[-–]\s*z?(\d+))?/g)) {
    const [a, b] = [Number(from), Number(to ?? from)];
    const last = Math.min(Math.max(a, b), order.length);
    for (let k = Math.min(a, b); k <= last; k++) wanted.add(k - 1);
  }
  if (wanted.size) return order.filter((j) => wanted.has(j));
  return all ? order : order.slice(0, FEW);
}

/** The share of the most active latent's activity. */
export function activityShare(j: number): number {
  const { activity, order } = manifest.value.latents;
  return activity[j] / (activity[order[0]] || 1);
}

/**
 * The axis of each latent. Where a standard prior gives all one scale they share an axis, so that
 * silent latents are seen to be silent; else each has its own.
 */
export function axes(): [number, number][] {
  const { latents, prior } = manifest.value;
  const own = latents.mean.map((_, j) => rangeOf(latents, j));
  if (prior?.kind !== "standard") return own;
  const low = own.reduce((least, [a]) => Math.min(least, a), -3.2);
  const high = own.reduce((most, [, b]) => Math.max(most, b), 3.2);
  return own.map(() => [low, high]);
}

const known = new WeakMap<Backend, Promise<Float32Array | null>>();

/** Codes to show the shape of all: of rows, else of the prior's draws; null where neither is. */
function someCodes(): Promise<Float32Array | null> {
  const from = backend.value;
  const answer = known.get(from) ?? fetchCodes(from);
  known.set(from, answer);
  answer.catch(() => known.delete(from)); // the next view asks again
  return answer;
}

async function fetchCodes(from: Backend): Promise<Float32Array | null> {
  const { rows, prior } = from.manifest;
  if (rows) {
    const n = Math.min(rows.n, SEEN);
    const picked = Int32Array.from({ length: n }, (_, i) => Math.floor((i * rows.n) / n));
    return (await from.codes(picked)).mean;
  }
  if (prior?.kind !== "draws") return null;
  const [centres, offsets] = await Promise.all(
    ["prior_centres", "prior_offsets"].map((name) => from.array(name)),
  );
  return Float32Array.from(centres, (c, i) => c + offsets[i]);
}

/** For each latent the outline of all codes over its range; null where there is nothing to show. */
export function useShapes(ranges: [number, number][]): string[] | null {
  const codes = useAnswer(someCodes, []);
  return useMemo(() => codes && shapesOf(codes, ranges), [codes, ranges]);
}

/** The width of the box of a shape. */
export const SHAPE_WIDTH = BINS;

export function shapesOf(codes: Float32Array, ranges: [number, number][]): string[] {
  const d = ranges.length;
  return ranges.map(([low, high], j) => {
    const along = new Float32Array(codes.length / d);
    for (let i = 0; i < along.length; i++) along[i] = codes[i * d + j];
    return silhouette(histogram(along, low, high, BINS));
  });
}

/** The outline of a standard normal over a range. */
export function normalShape([low, high]: [number, number]): string {
  const middle = (k: number) => low + ((k + 0.5) / BINS) * (high - low);
  return silhouette(Float32Array.from({ length: BINS }, (_, k) => Math.exp(-(middle(k) ** 2) / 2)));
}
