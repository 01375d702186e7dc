/** What is known of rows beside their values, and what a conditional decoder is told of them. */

import { features, type Condition, type Numbers } from "../backend";
import type { Column, Manifest } from "../manifest";
import { backend, manifest } from "../state";
import { useAnswer } from "../Thing";
import { number } from "../words";

/** The values of columns, by column. */
export type Known = Map<Column, Numbers>;

/** Columns that are neither scores nor the features of a table, which are shown elsewhere. */
export function labelColumns({ columns, scores }: Manifest): Column[] {
  const scored = new Set(scores.map((s) => s.array));
  return columns.filter((c) => !scored.has(c.array) && c.feature === null);
}

/** The column items can be looked up by: the first with classes. */
export function classColumn(all: Manifest): Column | null {
  return labelColumns(all).find((c) => c.categories) ?? null;
}

/** The labels of all rows; null until they are here. */
export function useKnown(): Known | null {
  return useAnswer(async () => {
    const columns = labelColumns(manifest.value);
    const values = await Promise.all(columns.map((c) => backend.value.array(c.array)));
    return new Map(columns.map((c, i) => [c, values[i]]));
  }, []);
}

/** A value of a column as people read it. */
export function said(column: Column, value: number): string {
  return column.categories ? (column.categories[value] ?? "–") : number(value);
}

/** The class of a row in words; empty where it has none. */
export function labelOf(known: Known | null, row: number): string {
  const column = classColumn(manifest.value);
  const values = column && known?.get(column);
  return values ? said(column, values[row]) : "";
}

/** An item in a few words: "item 12 · 7". */
export function title(known: Known | null, row: number): string {
  return [`item ${row}`, labelOf(known, row)].filter(Boolean).join(" · ");
}

/** The class a conditional model is told of a row; null where it is not known. */
export function ownClass(known: Known | null, row: number): Condition {
  const k = manifest.value.model.classes?.indexOf(labelOf(known, row)) ?? -1;
  return k < 0 ? null : k;
}

/** The class in words. */
export function toldName(told: Condition): string {
  return told === null ? "unknown" : (manifest.value.model.classes?.[told] ?? "unknown");
}

/** Decode codes of which each is told a class of its own: one call for each class. */
export async function decodeTold(codes: Float32Array, told: Condition[]): Promise<Float64Array> {
  const d = manifest.value.model.n_components;
  const groups = new Map<Condition, number[]>();
  told.forEach((c, i) => groups.set(c, [...(groups.get(c) ?? []), i]));
  if (groups.size === 1) return backend.value.decode(codes, told.length, told[0]);
  const size = features(manifest.value);
  const out = new Float64Array(told.length * size);
  for (const [c, places] of groups) {
    const part = new Float32Array(places.length * d);
    places.forEach((i, k) => part.set(codes.subarray(i * d, (i + 1) * d), k * d));
    const x = await backend.value.decode(part, places.length, c);
    places.forEach((i, k) => out.set(x.subarray(k * size, (k + 1) * size), i * size));
  }
  return out;
}
