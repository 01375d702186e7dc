/** The items between which paths run, and the three of "this − that + other". */

import { signal } from "@preact/signals";
import type { Numbers } from "../backend";

/** Rows of A and B; null until somebody chooses. */
export const first = signal<number | null>(null);
export const second = signal<number | null>(null);
/** Rows of this, that and other; null until somebody chooses. */
export const terms = signal<(number | null)[]>([null, null, null]);

/** The next row by `by` steps, round and round, of those whose label is `wanted` (null: of all). */
export function step(
  labels: Numbers | null,
  n: number,
  row: number,
  by: 1 | -1,
  wanted: number | null,
): number {
  for (let k = 1; k <= n; k++) {
    const next = (((row + by * k) % n) + n) % n;
    if (wanted === null || !labels || labels[next] === wanted) return next;
  }
  return row;
}

/** A row far from another, of another class where classes are known. */
export function otherRow(labels: Numbers | null, n: number, row: number): number {
  const half = (row + Math.floor(n / 2)) % n;
  if (!labels) return half;
  for (let k = 0; k < n; k++) {
    const next = (half + k) % n;
    if (labels[next] !== labels[row]) return next;
  }
  return half;
}

/** Where a swing stands that takes one unit a way: 0 to 1 and back. */
export function swing(phase: number): number {
  const p = phase % 2;
  return p < 1 ? p : 2 - p;
}
