/** Labels of rows, and the condition they imply for a conditional decoder. */

import { itemSize, type Condition, type Numbers } from "../backend";
import type { Column, Manifest } from "../manifest";
import { backend, manifest } from "../state";
import { useQuery } from "../SampleView";
import { formatNumber } from "../format";

/** The values of label columns. */
export type RowLabels = Map<Column, Numbers>;

/** Columns that are neither scores nor table features. */
export function labelColumns({ columns, scores }: Manifest): Column[] {
  const scored = new Set(scores.map((s) => s.array));
  return columns.filter((c) => !scored.has(c.array) && c.feature === null);
}

/** The first label column with classes. */
export function classColumn(all: Manifest): Column | null {
  return labelColumns(all).find((c) => c.categories) ?? null;
}

/** The labels of all rows; null while they load. */
export function useRowLabels(): RowLabels | null {
  return useQuery(async () => {
    const columns = labelColumns(manifest.value);
    const values = await Promise.all(columns.map((c) => backend.value.array(c.array)));
    return new Map(columns.map((c, i) => [c, values[i]]));
  }, []);
}

/** Format a value of a column. */
export function labelText(column: Column, value: number): string {
  return column.categories ? (column.categories[value] ?? "–") : formatNumber(value);
}

/** The class name of a row; empty without labels. */
export function labelOf(known: RowLabels | null, row: number): string {
  const column = classColumn(manifest.value);
  const values = column && known?.get(column);
  return values ? labelText(column, values[row]) : "";
}

/** The title of an item, such as "item 12 · 7". */
export function title(known: RowLabels | null, row: number): string {
  return [`item ${row}`, labelOf(known, row)].filter(Boolean).join(" · ");
}

/** The class of a row as a condition; null if unknown. */
export function ownClass(known: RowLabels | null, row: number): Condition {
  const k = manifest.value.model.classes?.indexOf(labelOf(known, row)) ?? -1;
  return k < 0 ? null : k;
}

/** The name of a condition. */
export function conditionName(condition: Condition): string {
  return condition === null ? "unknown" : (manifest.value.model.classes?.[condition] ?? "unknown");
}

/** Decode codes with one condition each, in one call per condition. */
export async function decodeWithConditions(
  codes: Float32Array,
  condition: Condition[],
  seed?: number,
): Promise<Float64Array> {
  const d = manifest.value.model.n_components;
  const groups = new Map<Condition, number[]>();
  condition.forEach((c, i) => groups.set(c, [...(groups.get(c) ?? []), i]));
  if (groups.size === 1) return backend.value.decode(codes, condition.length, condition[0], seed);
  const size = itemSize(manifest.value);
  const out = new Float64Array(condition.length * size);
  for (const [c, places] of groups) {
    const part = new Float32Array(places.length * d);
    places.forEach((i, k) => part.set(codes.subarray(i * d, (i + 1) * d), k * d));
    const x = await backend.value.decode(part, places.length, c, seed);
    places.forEach((i, k) => out.set(x.subarray(k * size, (k + 1) * size), i * size));
  }
  return out;
}
