/** The items chosen for interpolation and for the analogy A − B + C. */

import { signal } from "@preact/signals";
import type { Numbers } from "../backend";

/** Rows of A and B; null until chosen. */
export const first = signal<number | null>(null);
export const second = signal<number | null>(null);
/** Rows of A, B and C of the analogy; null until chosen. */
export const terms = signal<(number | null)[]>([null, null, null]);

/** The next or previous row, cyclically, with label `wanted` (null: any). */
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

/** A row far from another, of a different class if known. */
export function otherRow(labels: Numbers | null, n: number, row: number): number {
  const half = (row + Math.floor(n / 2)) % n;
  if (!labels) return half;
  for (let k = 0; k < n; k++) {
    const next = (half + k) % n;
    if (labels[next] !== labels[row]) return next;
  }
  return half;
}

/** A triangle wave between 0 and 1 with period 2. */
export function swing(phase: number): number {
  const p = phase % 2;
  return p < 1 ? p : 2 - p;
}
