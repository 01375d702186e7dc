/** What a view may ask; a page answers by itself, a live studio by its server. */

import type { Manifest, Run } from "./manifest";

export type Numbers = Float32Array | Float64Array | Uint8Array | Uint16Array | Int32Array;

export interface Posterior {
  mean: Float32Array;
  std: Float32Array;
}

export interface Completion {
  x: Float64Array;
  /** Standard deviation of what is missing, where the backend can draw it. */
  std: Float64Array | null;
}

export interface Neighbours {
  rows: Int32Array;
  distances: Float32Array;
}

/** The number of a class, or null for "unknown". */
export type Condition = number | null;

export interface Backend {
  readonly manifest: Manifest;
  /** Whether Python answers: draws for repair, runs that go on. */
  readonly live: boolean;
  /** A whole array of the bundle by name; n numbers, or n rows of several. */
  array(name: string): Promise<Numbers>;
  /** Rows as they are, in the units of the data, one after another. */
  items(rows: ArrayLike<number>): Promise<Float64Array>;
  /** Codes (means of q) and spreads of rows of the data, one after another. */
  codes(rows: ArrayLike<number>): Promise<Posterior>;
  encode(x: Float64Array, n: number, condition: Condition): Promise<Posterior>;
  decode(z: Float32Array, n: number, condition: Condition): Promise<Float64Array>;
  neighbours(code: Float32Array, k: number): Promise<Neighbours>;
  /** Fill what is hidden (1) by what the model expects there. */
  repair(x: Float64Array, hidden: Uint8Array, condition: Condition): Promise<Completion>;
  runs(): Promise<Run[]>;
  /** The licences of everything that is in the app. */
  licences(): Promise<string>;
}

/** How many numbers one item holds. */
export function features(manifest: Manifest): number {
  return manifest.item.shape.reduce((a, b) => a * b, 1);
}

/**
 * Let at most one call of `ask` be under way, and of those that wait only the last: what a
 * moving pointer asks for. A call that was overtaken answers null.
 */
export function latest<A extends unknown[], R>(
  ask: (...args: A) => Promise<R>,
): (...args: A) => Promise<R | null> {
  let busy = false;
  let waiting: { args: A; settle: (run: boolean) => void } | null = null;
  return async (...args) => {
    if (busy) {
      waiting?.settle(false);
      const run = await new Promise<boolean>((settle) => (waiting = { args, settle }));
      if (!run) return null;
    }
    busy = true;
    try {
      return await ask(...args);
    } finally {
      busy = false;
      const next = waiting;
      waiting = null;
      if (next) {
        busy = true; // no other call comes between
        next.settle(true);
      }
    }
  };
}

/** Pick rows of `width` numbers out of a table. */
export function rowsOf(data: Numbers, width: number, rows: ArrayLike<number>): Float64Array {
  const out = new Float64Array(rows.length * width);
  for (let i = 0; i < rows.length; i++) {
    const start = rows[i] * width;
    for (let j = 0; j < width; j++) out[i * width + j] = data[start + j];
  }
  return out;
}
