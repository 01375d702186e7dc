/** What the views share: the run, the item and the code in hand, colours, attribute vectors. */

import { computed, signal } from "@preact/signals";
import type { Backend, Condition } from "./backend";
import type { Manifest } from "./manifest";

export type View =
  | "map"
  | "item"
  | "sliders"
  | "between"
  | "samples"
  | "repair"
  | "anomalies"
  | "training";

export interface Attribute {
  name: string;
  vector: Float32Array;
}

export const view = signal<View>("map");
/** The row of the item in hand. */
export const chosen = signal(0);
/** The code on the sliders; null until one is there. */
export const code = signal<Float32Array | null>(null);
/** The class a conditional model is told; null is "unknown". */
export const condition = signal<Condition>(null);
/** Rows inside the lasso. */
export const lasso = signal<Int32Array>(new Int32Array());
export const attributes = signal<Attribute[]>([]);
/** The array of the column that colours points; empty of none. */
export const colouredBy = signal("");
/** What went wrong last, in one line; shown until it is dismissed. */
export const trouble = signal("");

const current = signal<Backend | null>(null);

/** The backend; views are shown only when there is one. */
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
  chosen.value = row;
  go("item");
}

/** Put a code on the sliders and show them. */
export function toSliders(z: Float32Array, told: Condition = condition.value): void {
  code.value = Float32Array.from(z);
  condition.value = told;
  go("sliders");
}

/** Go to a view; the address remembers it, so that "back" works. */
export function go(to: View): void {
  window.location.hash = to;
}

/** Run what may fail, and say what went wrong in one line. */
export async function attempt<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    trouble.value = error instanceof Error ? error.message : String(error);
    return null;
  }
}
