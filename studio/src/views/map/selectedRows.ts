/** Selection of rows, their mean code and their export. */

import type { Backend, Numbers } from "../../backend";
import { csv } from "../../format";

/** The mean code of some rows and of all others; null if there are no others. */
export function means(
  codes: Numbers,
  width: number,
  rows: Int32Array,
): { inside: Float32Array; rest: Float32Array | null } {
  const others = codes.length / width - rows.length;
  const inside = new Float64Array(width);
  const rest = new Float64Array(width);
  for (let k = 0; k < codes.length; k++) rest[k % width] += codes[k];
  for (const row of rows) for (let j = 0; j < width; j++) inside[j] += codes[row * width + j];
  for (let j = 0; j < width; j++) rest[j] -= inside[j];
  return {
    inside: Float32Array.from(inside, (v) => v / rows.length),
    rest: others ? Float32Array.from(rest, (v) => v / others) : null,
  };
}

/** The selected rows as CSV: row number, map position, code and all columns. */
export async function table(backend: Backend, points: Numbers, rows: Int32Array): Promise<string> {
  const { map, columns, model, arrays } = backend.manifest;
  const d = model.n_components;
  const codes = (await backend.codes(rows)).mean;
  const numbers = "row" in arrays ? await backend.array("row") : null;
  const values = await Promise.all(columns.map((c) => backend.array(c.array)));
  const header = ["row", `map: ${map!.axes[0]}`, `map: ${map!.axes[1]}`];
  for (let j = 0; j < d; j++) header.push(`z${j + 1}`);
  const lines = Array.from(rows, (row, i) => [
    numbers ? numbers[row] : row,
    points[2 * row],
    points[2 * row + 1],
    ...codes.subarray(i * d, (i + 1) * d),
    ...columns.map((c, k) => value(values[k][row], c.categories)),
  ]);
  return csv([...header, ...columns.map((c) => c.name)], lines);
}

function value(v: number, categories: string[] | null): string | number {
  if (categories) return categories[v] ?? "";
  return Number.isNaN(v) ? "" : v;
}

/** The rows of a class. */
export function rowsOfClass(values: Numbers, k: number): Int32Array {
  const rows: number[] = [];
  values.forEach((v, i) => v === k && rows.push(i));
  return Int32Array.from(rows);
}

/** The rows with the lowest or highest 10% of the values. */
export function tenth(values: Numbers, end: "lowest" | "highest"): Int32Array {
  const sorted = Float64Array.from(values).filter(Number.isFinite).sort();
  const edge = sorted[Math.floor((end === "lowest" ? 0.1 : 0.9) * (sorted.length - 1))];
  const rows: number[] = [];
  values.forEach((v, i) => (end === "lowest" ? v <= edge : v >= edge) && rows.push(i));
  return Int32Array.from(rows);
}
