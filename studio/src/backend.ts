/** The interface between views and model: implemented by an exported page and by the live server. */

import type { Manifest, Run } from "./manifest";

export type Numbers = Float32Array | Float64Array | Uint8Array | Uint16Array | Int32Array;

export interface Posterior {
  mean: Float32Array;
  std: Float32Array;
}

export interface Imputation {
  x: Float64Array;
  /** Standard deviation of the imputed values; null if the backend does not sample. */
  std: Float64Array | null;
}

export interface Neighbours {
  rows: Int32Array;
  distances: Float32Array;
}

/** The index of a class, or null for "unknown". */
export type Condition = number | null;

export interface Backend {
  readonly manifest: Manifest;
  /** Whether a Python server answers: imputation by sampling, and runs in training. */
  readonly live: boolean;
  /** A complete array of the bundle: n numbers, or n rows one after another. */
  array(name: string): Promise<Numbers>;
  /** Rows of the data in its own units, one after another. */
  items(rows: ArrayLike<number>): Promise<Float64Array>;
  /** Means and standard deviations of q(z|x) for rows of the data. */
  codes(rows: ArrayLike<number>): Promise<Posterior>;
  encode(x: Float64Array, n: number, condition: Condition): Promise<Posterior>;
  /** With a seed, a live backend draws rows of tables; otherwise they are means. */
  decode(z: Float32Array, n: number, condition: Condition, seed?: number): Promise<Float64Array>;
  neighbours(code: Float32Array, k: number): Promise<Neighbours>;
  /** Replace hidden values (mask 1) by what the model expects there. */
  impute(x: Float64Array, hidden: Uint8Array, condition: Condition): Promise<Imputation>;
  runs(): Promise<Run[]>;
  /** The licences of all packages in the app. */
  licences(): Promise<string>;
}

/** The number of values of one item. */
export function itemSize(manifest: Manifest): number {
  return manifest.item.shape.reduce((a, b) => a * b, 1);
}

/**
 * Limit an asynchronous function to one call at a time, for events such as pointer moves. While a
 * call runs, only the latest new call is queued; superseded calls resolve to null.
 */
export function latest<A extends unknown[], R>(
  call: (...args: A) => Promise<R>,
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
      return await call(...args);
    } finally {
      busy = false;
      const next = waiting;
      waiting = null;
      if (next) {
        busy = true; // reserve the turn for the queued call
        next.settle(true);
      }
    }
  };
}

/** Select rows of `width` numbers from a matrix. */
export function takeRows(data: Numbers, width: number, rows: ArrayLike<number>): Float64Array {
  const out = new Float64Array(rows.length * width);
  for (let i = 0; i < rows.length; i++) {
    const start = rows[i] * width;
    for (let j = 0; j < width; j++) out[i * width + j] = data[start + j];
  }
  return out;
}
