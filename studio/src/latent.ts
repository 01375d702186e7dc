/** Latent-space geometry: paths, projections, density and nearest neighbours. */

import type { Numbers } from "./backend";
import type { Latents, MapPlane, Prior } from "./manifest";

export type Random = () => number;

/** A seeded random generator of numbers in [0, 1) (Mulberry32; Ettinger, 2017). */
export function random(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A standard normal number (Box and Muller, 1958). */
export function normal(next: Random): number {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

/** Linear interpolation from a to b at t in [0, 1]. */
export function linear(a: ArrayLike<number>, b: ArrayLike<number>, t: number): Float32Array {
  return Float32Array.from(a, (v, i) => v + t * (b[i] - v));
}

/**
 * Spherical interpolation from a to b at t in [0, 1], with linearly interpolated length. Falls back
 * to linear interpolation if a or b is the origin or the two are parallel.
 */
export function spherical(a: ArrayLike<number>, b: ArrayLike<number>, t: number): Float32Array {
  const [la, lb] = [norm(a), norm(b)];
  const cosine = la && lb ? dot(a, b) / (la * lb) : 1;
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const sine = Math.sin(angle);
  if (sine < 1e-6) return linear(a, b, t);
  const length = la + t * (lb - la);
  const [wa, wb] = [Math.sin((1 - t) * angle) / sine / la, Math.sin(t * angle) / sine / lb];
  return Float32Array.from(a, (v, i) => length * (wa * v + wb * b[i]));
}

/** a − b + c. */
export function analogy(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  c: ArrayLike<number>,
): Float32Array {
  return Float32Array.from(a, (v, i) => v - b[i] + c[i]);
}

/** Draw n codes from the prior; the temperature scales their distance from the centres. */
export function draws(
  prior: Prior,
  n: number,
  width: number,
  temperature: number,
  next: Random,
  kept?: { centres: Numbers; offsets: Numbers },
): Float32Array {
  const out = new Float32Array(n * width);
  for (let i = 0; i < n; i++) {
    const pick = prior.kind === "draws" ? Math.floor(next() * prior.n) * width : 0;
    for (let j = 0; j < width; j++)
      out[i * width + j] =
        prior.kind === "standard"
          ? temperature * normal(next)
          : kept!.centres[pick + j] + temperature * kept!.offsets[pick + j];
  }
  return out;
}

/** Project a code to the map. */
export function project(plane: MapPlane, code: ArrayLike<number>): [number, number] {
  const place = plane.components.map((row) =>
    row.reduce((sum, w, j) => sum + w * (code[j] - plane.mean[j]), 0),
  );
  return [place[0], place[1] ?? 0];
}

/** The code on the plane at a position of the map. */
export function unproject(plane: MapPlane, x: number, y: number): Float32Array {
  const place = [x, y];
  return Float32Array.from(plane.mean, (m, j) =>
    plane.components.reduce((sum, row, k) => sum + place[k] * row[j], m),
  );
}

/** Number of items used to invert the map; more would barely change the means. */
const LOOKED_AT = 10_000;

/**
 * The inverse of the map. It adds to the point on the plane the weighted mean of the offsets of
 * nearby items from the plane. The result projects back to the same position, because the offsets
 * are orthogonal to the plane.
 */
export class Inverse {
  private off: Float32Array | null = null;
  private places = new Float32Array();

  /** `widths` are the standard deviations of the weights along each axis. */
  constructor(
    readonly plane: MapPlane,
    points: Numbers | null = null,
    codes: Numbers | null = null,
    private widths: [number, number] = [1, 1],
  ) {
    const d = plane.mean.length;
    if (!points || !codes || plane.components.length >= d) return;
    const step = Math.ceil(points.length / 2 / LOOKED_AT);
    const n = Math.ceil(points.length / 2 / step);
    this.places = new Float32Array(2 * n);
    this.off = new Float32Array(n * d);
    for (let i = 0; i < n; i++) {
      const row = i * step;
      const [x, y] = [points[2 * row], points[2 * row + 1]];
      const flat = unproject(plane, x, y);
      this.places.set([x, y], 2 * i);
      for (let j = 0; j < d; j++) this.off[i * d + j] = codes[row * d + j] - flat[j];
    }
  }

  at(x: number, y: number): Float32Array {
    const code = unproject(this.plane, x, y);
    if (!this.off) return code;
    const d = code.length;
    const sum = new Float64Array(d);
    let total = 1e-3; // far from all items, the result tends to the plane
    for (let i = 0; i < this.off.length / d; i++) {
      const u = (this.places[2 * i] - x) / this.widths[0];
      const v = (this.places[2 * i + 1] - y) / this.widths[1];
      const square = u * u + v * v;
      if (square > 18) continue;
      const weight = Math.exp(-square / 2);
      total += weight;
      for (let j = 0; j < d; j++) sum[j] += weight * this.off[i * d + j];
    }
    return code.map((v, j) => v + sum[j] / total);
  }
}

export interface Bounds {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

/** The bounding box of the points with a relative margin. */
export function boundsOf(points: Numbers, margin = 0.08): Bounds {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < points.length; i += 2) {
    if (!Number.isFinite(points[i]) || !Number.isFinite(points[i + 1])) continue;
    left = Math.min(left, points[i]);
    right = Math.max(right, points[i]);
    bottom = Math.min(bottom, points[i + 1]);
    top = Math.max(top, points[i + 1]);
  }
  if (!(left <= right)) return { left: -3, right: 3, bottom: -3, top: 3 };
  const [w, h] = [right - left || 1, top - bottom || 1];
  return {
    left: left - margin * w,
    right: right + margin * w,
    bottom: bottom - margin * h,
    top: top + margin * h,
  };
}

/**
 * The density of items on the map: a histogram blurred by a Gaussian of Scott's bandwidth.
 *
 * Reference: Multivariate density estimation (Scott, 1992).
 */
export class Density {
  readonly values: Float32Array;
  /** Standard deviations of the blur along both axes. */
  readonly widths: [number, number];
  private sorted: Float32Array;

  constructor(
    points: Numbers,
    readonly bounds: Bounds = boundsOf(points, 0.35),
    readonly size = 160,
  ) {
    const n = points.length / 2;
    const scott = Math.max(n, 2) ** (-1 / 6);
    this.widths = [0, 1].map((axis) => Math.max(spreadOf(points, axis) * scott, 1e-9)) as [number, number];
    const counts = new Float32Array(size * size);
    for (let i = 0; i < n; i++) {
      const [u, v] = this.place(points[2 * i], points[2 * i + 1]);
      if (u >= 0 && v >= 0 && u < size && v < size) counts[Math.floor(v) * size + Math.floor(u)]++;
    }
    const { left, right, bottom, top } = bounds;
    const across = blur(counts, size, 1, (this.widths[0] / (right - left)) * size);
    this.values = blur(across, size, size, (this.widths[1] / (top - bottom)) * size);
    const own = new Float32Array(n);
    for (let i = 0; i < n; i++) own[i] = this.at(points[2 * i], points[2 * i + 1]);
    this.sorted = own.sort();
  }

  /** Bilinearly interpolated density at a position, in items per cell; 0 outside. */
  at(x: number, y: number): number {
    const [u, v] = this.place(x, y);
    const [i, j] = [Math.floor(u - 0.5), Math.floor(v - 0.5)];
    const [s, t] = [u - 0.5 - i, v - 0.5 - j];
    return (
      (1 - t) * ((1 - s) * this.cell(i, j) + s * this.cell(i + 1, j)) +
      t * ((1 - s) * this.cell(i, j + 1) + s * this.cell(i + 1, j + 1))
    );
  }

  /** Density of a cell by column and row; 0 outside. */
  cell(i: number, j: number): number {
    return i >= 0 && j >= 0 && i < this.size && j < this.size ? this.values[j * this.size + i] : 0;
  }

  /** The share of items in less dense positions; near 0, the model was not trained there. */
  trust(x: number, y: number): number {
    return this.rank(this.at(x, y));
  }

  /** The share of items at a lower density than this. */
  rank(value: number): number {
    let [low, high] = [0, this.sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return this.sorted.length ? low / this.sorted.length : 0;
  }

  /** The density below which this share of items lies. */
  level(share: number): number {
    const last = this.sorted.length - 1;
    return last < 0 ? 0 : this.sorted[Math.round(Math.min(1, Math.max(0, share)) * last)];
  }

  /** A position in cells from the corner. */
  private place(x: number, y: number): [number, number] {
    const { left, right, bottom, top } = this.bounds;
    return [((x - left) / (right - left)) * this.size, ((y - bottom) / (top - bottom)) * this.size];
  }
}

/** Blur along the axis whose neighbours are `stride` apart. */
function blur(grid: Float32Array, size: number, stride: number, width: number): Float32Array {
  const reach = Math.ceil(3 * width);
  const kernel = Float32Array.from({ length: 2 * reach + 1 }, (_, k) =>
    Math.exp(-((k - reach) ** 2) / (2 * Math.max(width, 0.3) ** 2)),
  );
  const total = kernel.reduce((a, b) => a + b, 0);
  const out = new Float32Array(grid.length);
  for (let cell = 0; cell < grid.length; cell++) {
    const place = Math.floor(cell / stride) % size;
    let sum = 0;
    for (let k = -reach; k <= reach; k++)
      if (place + k >= 0 && place + k < size) sum += kernel[k + reach] * grid[cell + k * stride];
    out[cell] = sum / total;
  }
  return out;
}

/** Standard deviation of the points along axis 0 or 1. */
function spreadOf(points: Numbers, axis: number): number {
  let [n, mean, squares] = [0, 0, 0];
  for (let i = axis; i < points.length; i += 2) {
    if (!Number.isFinite(points[i])) continue;
    n++;
    const step = points[i] - mean;
    mean += step / n;
    squares += step * (points[i] - mean);
  }
  return n ? Math.sqrt(squares / n) : 1;
}

/** The k nearest rows by Euclidean distance; ties keep the first row. */
export function nearest(
  codes: Numbers,
  code: ArrayLike<number>,
  k: number,
): { rows: Int32Array; distances: Float32Array } {
  const d = code.length;
  const n = codes.length / d;
  const rows: number[] = [];
  const squares: number[] = [];
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let j = 0; j < d; j++) sum += (codes[i * d + j] - code[j]) ** 2;
    if (rows.length === k && !(sum < squares[k - 1])) continue;
    let at = rows.length === k ? k - 1 : rows.length;
    for (; at > 0 && squares[at - 1] > sum; at--) {
      rows[at] = rows[at - 1];
      squares[at] = squares[at - 1];
    }
    rows[at] = i;
    squares[at] = sum;
  }
  return { rows: Int32Array.from(rows), distances: Float32Array.from(squares, Math.sqrt) };
}

/** The range of a latent's slider. */
export function rangeOf(latents: Latents, j: number): [number, number] {
  const reach = 3 * (latents.std[j] || 1);
  return [
    Math.min(latents.low[j], latents.mean[j] - reach),
    Math.max(latents.high[j], latents.mean[j] + reach),
  ];
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function norm(a: ArrayLike<number>): number {
  return Math.sqrt(dot(a, a));
}
