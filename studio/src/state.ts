/** State shared by the views: backend, selected item and code, colours, attribute vectors. */

import { computed, signal } from "@preact/signals";
import type { Backend, Condition } from "./backend";
import type { Manifest } from "./manifest";

export type View =
  | "map"
  | "item"
  | "sliders"
  | "interpolate"
  | "samples"
  | "impute"
  | "anomalies"
  | "training";

export interface Attribute {
  name: string;
  vector: Float32Array;
}

export const view = signal<View>("map");
/** The row of the selected item. */
export const selectedRow = signal(0);
/** The code on the sliders; null until one is set. */
export const code = signal<Float32Array | null>(null);
/** The class that conditions the decoder; null is "unknown". */
export const selectedClass = signal<Condition>(null);
/** Rows selected with the lasso. */
export const lasso = signal<Int32Array>(new Int32Array());
export const attributes = signal<Attribute[]>([]);
/** The array of the column that colours the points; empty for none. */
export const colouredBy = signal("");
/** The last error message, shown until dismissed. */
export const errorMessage = signal("");

const current = signal<Backend | null>(null);

/** The backend, which is set before any view is rendered. */
export const backend = computed(() => current.value as Backend);
export const manifest = computed(() => backend.value.manifest as Manifest);

export function begin(with_: Backend): void {
  const { latents, columns } = with_.manifest;
  code.value = Float32Array.from(latents.mean, (m) => (with_.manifest.prior?.kind === "standard" ? 0 : m));
  colouredBy.value = columns[0]?.array ?? "";
  current.value = with_;
}

/** Show an item in the item view. */
export function showItem(row: number): void {
  selectedRow.value = row;
  go("item");
}

/** Put a code on the sliders and show them. */
export function toSliders(z: Float32Array, condition: Condition = selectedClass.value): void {
  code.value = Float32Array.from(z);
  selectedClass.value = condition;
  go("sliders");
}

/** Open a view through the address, so that "back" works. */
export function go(to: View): void {
  window.location.hash = to;
}

/** Await a promise; on failure show its message and return null. */
export async function attempt<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    errorMessage.value = error instanceof Error ? error.message : String(error);
    return null;
  }
}
