/** Masks of what is hidden: a number a pixel, sample or column, 1 where it is hidden. */

import type { Random } from "./latent";

export type Mask = Uint8Array<ArrayBuffer>;

/** What is painted on; a signal is a picture one pixel high. */
export interface Grid {
  width: number;
  height: number;
}

/** A place in pixels, (0, 0) at the outer corner of the first. */
export interface Place {
  x: number;
  y: number;
}

export type Preset = "left" | "right" | "top" | "bottom" | "centre" | "random";

export function nothing(grid: Grid): Mask {
  return new Uint8Array(grid.width * grid.height);
}

/** Hide (1) or show (0) what a round brush covers on its way between two places. */
export function stroke(
  mask: Mask,
  grid: Grid,
  from: Place,
  to: Place,
  radius: number,
  value: 0 | 1,
): Mask {
  const out = mask.slice();
  const reach = Math.max(radius, 0.5); // a thinner brush would slip between the centres
  const columns = span(from.x, to.x, reach, grid.width);
  const rows = span(from.y, to.y, reach, grid.height);
  for (let y = rows[0]; y < rows[1]; y++)
    for (let x = columns[0]; x < columns[1]; x++)
      if (distance({ x: x + 0.5, y: y + 0.5 }, from, to) <= reach) out[y * grid.width + x] = value;
  const under = pixelAt(grid, to);
  if (under >= 0) out[under] = value;
  return out;
}

/** Hide a part that has a name. */
export function preset(name: Preset, grid: Grid, next: Random): Mask {
  const inside = PRESETS[name];
  return nothing(grid).map((_, i) => {
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

/**
 * What is missing from an item of `width` numbers: what the mask hides, in all channels (which
 * come one after another), and what the data never had.
 */
export function missingFrom(x: ArrayLike<number>, mask: Mask): Mask {
  return Uint8Array.from(x, (v, i) => (mask[i % mask.length] || Number.isNaN(v) ? 1 : 0));
}

export function hiddenCount(mask: Mask): number {
  return mask.reduce((sum, v) => sum + v, 0);
}

/** The mean squared error where the mask hides what is known; NaN where there is no such place. */
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

/** First and last + 1 of the pixels that a brush between a and b may touch. */
function span(a: number, b: number, reach: number, size: number): [number, number] {
  const first = Math.floor(Math.min(a, b) - reach);
  const last = Math.ceil(Math.max(a, b) + reach);
  return [Math.max(0, first), Math.min(size, last)];
}

function pixelAt({ width, height }: Grid, { x, y }: Place): number {
  const outside = x < 0 || y < 0 || x >= width || y >= height;
  return outside ? -1 : Math.floor(y) * width + Math.floor(x);
}

/** How far a place is from the line between two others. */
function distance(p: Place, a: Place, b: Place): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const along = ((p.x - a.x) * dx + (p.y - a.y) * dy) / (dx * dx + dy * dy || 1);
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}
