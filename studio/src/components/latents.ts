/** Names, order, ranges and distributions of latents. */

import { useMemo } from "preact/hooks";
import type { Backend } from "../backend";
import { rangeOf } from "../latent";
import { backend, manifest } from "../state";
import { useQuery } from "../SampleView";
import { histogram, silhouette } from "./statistics";

/** Number of latents shown by default. */
export const FEW = 32;
const MAX_VALUES = 2000; // maximum number of codes in a histogram
const BINS = 48;

/** The name of a latent, as in the report. */
export function nameOf(j: number): string {
  return `z${j + 1}`;
}

/** Format a latent with two decimals, so that its width is constant. */
export function readout(value: number): string {
  const text = value.toFixed(2);
  return Number(text) < 0 ? text.replace("-", "−") : text.replace("-", "");
}

/** The latents that match a filter such as "7, 40-60", in the given order; by default the first. */
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

/** The activity relative to the most active latent. */
export function activityShare(j: number): number {
  const { activity, order } = manifest.value.latents;
  return activity[j] / (activity[order[0]] || 1);
}

/**
 * The axis of each latent. With a standard prior, all latents share one axis, so that inactive
 * latents are recognizable; otherwise each has its own.
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

/** Codes of rows, or samples of the prior; null if neither is available. */
function someCodes(): Promise<Float32Array | null> {
  const from = backend.value;
  const answer = known.get(from) ?? fetchCodes(from);
  known.set(from, answer);
  answer.catch(() => known.delete(from)); // retry on the next request
  return answer;
}

async function fetchCodes(from: Backend): Promise<Float32Array | null> {
  const { rows, prior } = from.manifest;
  if (rows) {
    const n = Math.min(rows.n, MAX_VALUES);
    const picked = Int32Array.from({ length: n }, (_, i) => Math.floor((i * rows.n) / n));
    return (await from.codes(picked)).mean;
  }
  if (prior?.kind !== "draws") return null;
  const [centres, offsets] = await Promise.all(
    ["prior_centres", "prior_offsets"].map((name) => from.array(name)),
  );
  return Float32Array.from(centres, (c, i) => c + offsets[i]);
}

/** The histogram of each latent as an SVG path; null without codes. */
export function useShapes(ranges: [number, number][]): string[] | null {
  const codes = useQuery(someCodes, []);
  return useMemo(() => codes && shapesOf(codes, ranges), [codes, ranges]);
}

/** The width of the SVG box of a histogram. */
export const SHAPE_WIDTH = BINS;

export function shapesOf(codes: Float32Array, ranges: [number, number][]): string[] {
  const d = ranges.length;
  return ranges.map(([low, high], j) => {
    const along = new Float32Array(codes.length / d);
    for (let i = 0; i < along.length; i++) along[i] = codes[i * d + j];
    return silhouette(histogram(along, low, high, BINS));
  });
}

/** The density of a standard normal over a range as an SVG path. */
export function normalShape([low, high]: [number, number]): string {
  const middle = (k: number) => low + ((k + 0.5) / BINS) * (high - low);
  return silhouette(Float32Array.from({ length: BINS }, (_, k) => Math.exp(-(middle(k) ** 2) / 2)));
}
