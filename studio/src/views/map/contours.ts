/** Contour lines of a grid. */

export type Loop = Float32Array;

/** Edges of a cell in the order bottom, right, top, left. */
const [B, R, T, L] = [0, 1, 2, 3];
/** Edges (from, to) for each set of corners inside, as bits anticlockwise from the bottom left. */
const STEPS: number[][] = [
  [], [B, L], [R, B], [R, L], [T, R], [], [T, B], [T, L],
  [L, T], [B, T], [], [R, T], [L, R], [B, R], [L, B], [],
];

/**
 * Closed contour lines at a level by marching squares (Lorensen and Cline, 1987, in two
 * dimensions), with higher values on their left. Loops alternate x and y in cells from the centre
 * of the first cell; the grid is surrounded by zeros.
 */
export function contours(value: (i: number, j: number) => number, size: number, level: number): Loop[] {
  const width = size + 2; // a border of zeros closes every line
  const grid = new Float32Array(width * width);
  for (let j = 0; j < size; j++)
    for (let i = 0; i < size; i++) grid[(j + 1) * width + i + 1] = value(i, j);
  return trace(steps(grid, width, level), grid, width, level);
}

/** The successor of each crossed edge. Even edges run along x, odd edges along y. */
function steps(grid: Float32Array, width: number, level: number): Int32Array {
  const next = new Int32Array(2 * grid.length).fill(-1);
  for (let j = 0; j < width - 1; j++)
    for (let i = 0; i < width - 1; i++) {
      const at = j * width + i;
      const corners = [grid[at], grid[at + 1], grid[at + width + 1], grid[at + width]];
      const inside = corners.reduce((set, v, k) => set | (v >= level ? 1 << k : 0), 0);
      if (inside === 0 || inside === 15) continue;
      const edges = [2 * at, 2 * at + 3, 2 * (at + width), 2 * at + 1];
      const high = corners[0] + corners[1] + corners[2] + corners[3] >= 4 * level;
      const pairs = inside === 5 ? (high ? [B, R, T, L] : [B, L, T, R])
        : inside === 10 ? (high ? [L, B, R, T] : [R, B, L, T]) : STEPS[inside];
      for (let k = 0; k < pairs.length; k += 2) next[edges[pairs[k]]] = edges[pairs[k + 1]];
    }
  return next;
}

function trace(next: Int32Array, grid: Float32Array, width: number, level: number): Loop[] {
  const loops: Loop[] = [];
  for (let start = 0; start < next.length; start++) {
    const line: number[] = [];
    for (let edge = start; next[edge] >= 0; ) {
      const at = edge >> 1;
      const other = edge & 1 ? at + width : at + 1;
      const share = (level - grid[at]) / (grid[other] - grid[at]);
      const [i, j] = [at % width, Math.floor(at / width)];
      line.push(i - 1 + (edge & 1 ? 0 : share), j - 1 + (edge & 1 ? share : 0));
      const after = next[edge];
      next[edge] = -1;
      edge = after;
    }
    if (line.length) loops.push(Float32Array.from(line));
  }
  return loops;
}
