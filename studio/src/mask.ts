/** Masks of hidden values: one number per pixel, sample or column, 1 if hidden. */

import type { Random } from "./latent";

export type Mask = Uint8Array<ArrayBuffer>;

/** The size of a mask; a signal is an image of height 1. */
export interface Grid {
  width: number;
  height: number;
}

/** A position in pixels; (0, 0) is the outer corner of the first pixel. */
export interface Point2D {
  x: number;
  y: number;
}

export type Preset = "left" | "right" | "top" | "bottom" | "centre" | "random";

export function emptyMask(grid: Grid): Mask {
  return new Uint8Array(grid.width * grid.height);
}

/** Hide (1) or show (0) the pixels that a round brush covers between two positions. */
export function stroke(
  mask: Mask,
  grid: Grid,
  from: Point2D,
  to: Point2D,
  radius: number,
  value: 0 | 1,
): Mask {
  const out = mask.slice();
  const reach = Math.max(radius, 0.5); // a thinner brush could miss all pixel centres
  const columns = span(from.x, to.x, reach, grid.width);
  const rows = span(from.y, to.y, reach, grid.height);
  for (let y = rows[0]; y < rows[1]; y++)
    for (let x = columns[0]; x < columns[1]; x++)
      if (distance({ x: x + 0.5, y: y + 0.5 }, from, to) <= reach) out[y * grid.width + x] = value;
  const under = pixelAt(grid, to);
  if (under >= 0) out[under] = value;
  return out;
}

/** Return the mask of a named region. */
export function preset(name: Preset, grid: Grid, next: Random): Mask {
  const inside = PRESETS[name];
  return emptyMask(grid).map((_, i) => {
    const x = ((i % grid.width) + 0.5) / grid.width;
    const y = (Math.floor(i / grid.width) + 0.5) / grid.height;
    return inside(x, y, next) ? 1 : 0;
  });
}

const PRESETS: Record<Preset, (x: number, y: number, next: Random) => boolean> = {
  left: (x) => x < 0.5,
  right: (x) => x >= 0.5,
  top: (_, y) => y < 0.5,
  bottom: (_, y) => y >= 0.5,
  centre: (x, y) => Math.abs(x - 0.5) < 0.25 && Math.abs(y - 0.5) < 0.25,
  random: (_x, _y, next) => next() < 0.5,
};

/** Return the missing values of an item: pixels hidden by the mask, in all channels, and NaN. */
export function missingFrom(x: ArrayLike<number>, mask: Mask): Mask {
  return Uint8Array.from(x, (v, i) => (mask[i % mask.length] || Number.isNaN(v) ? 1 : 0));
}

export function hiddenCount(mask: Mask): number {
  return mask.reduce((sum, v) => sum + v, 0);
}

/** Mean squared error over hidden values with known truth; NaN if there are none. */
export function hiddenError(
  made: ArrayLike<number>,
  truth: ArrayLike<number>,
  hidden: Mask,
): number {
  let [sum, n] = [0, 0];
  for (let i = 0; i < truth.length; i++) {
    if (!hidden[i] || Number.isNaN(truth[i])) continue;
    sum += (made[i] - truth[i]) ** 2;
    n++;
  }
  return sum / n;
}

/** The range of pixels, end exclusive, that a brush between a and b can touch. */
function span(a: number, b: number, reach: number, size: number): [number, number] {
  const first = Math.floor(Math.min(a, b) - reach);
  const last = Math.ceil(Math.max(a, b) + reach);
  return [Math.max(0, first), Math.min(size, last)];
}

function pixelAt({ width, height }: Grid, { x, y }: Point2D): number {
  const outside = x < 0 || y < 0 || x >= width || y >= height;
  return outside ? -1 : Math.floor(y) * width + Math.floor(x);
}

/** The distance of a point from the segment between two others. */
function distance(p: Point2D, a: Point2D, b: Point2D): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const along = ((p.x - a.x) * dx + (p.y - a.y) * dy) / (dx * dx + dy * dy || 1);
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}
