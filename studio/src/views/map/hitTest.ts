/** Hit testing: the item under the pointer and the items inside a lasso. */

import type { Numbers } from "../../backend";

/** The row nearest on the screen within a distance in pixels; -1 if there is none. */
export function rowAt(
  points: Numbers,
  [x, y]: readonly [number, number],
  [sx, sy]: readonly [number, number],
  reach: number,
  hidden: Uint8Array | null = null,
): number {
  let found = -1;
  let best = reach * reach;
  for (let i = 0, k = 0; k < points.length; i++, k += 2) {
    const dx = (points[k] - x) * sx;
    if (dx > reach || dx < -reach) continue;
    const dy = (points[k + 1] - y) * sy;
    const square = dx * dx + dy * dy;
    if (square > best || (hidden && hidden[i])) continue;
    best = square;
    found = i;
  }
  return found;
}

/** The visible rows inside a polygon (even-odd rule). */
export function rowsInside(
  points: Numbers,
  polygon: readonly (readonly [number, number])[],
  hidden: Uint8Array | null = null,
): Int32Array {
  const xs = polygon.map((p) => p[0]);
  const ys = polygon.map((p) => p[1]);
  const [left, right, bottom, top] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const rows: number[] = [];
  for (let i = 0, k = 0; k < points.length; i++, k += 2) {
    const [x, y] = [points[k], points[k + 1]];
    if (!(x >= left && x <= right && y >= bottom && y <= top) || (hidden && hidden[i])) continue;
    let inside = false;
    for (let a = 0, b = xs.length - 1; a < xs.length; b = a++) {
      const crosses = ys[a] > y !== ys[b] > y;
      if (crosses && x < ((xs[b] - xs[a]) * (y - ys[a])) / (ys[b] - ys[a]) + xs[a]) inside = !inside;
    }
    if (inside) rows.push(i);
  }
  return Int32Array.from(rows);
}
