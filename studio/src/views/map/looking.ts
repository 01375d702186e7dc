/** What one looks at on the map: an item, or a place of the land. */

import { signal } from "@preact/signals";
import { useAnswer } from "../../Thing";
import { backend, condition } from "../../state";
import type { Camera } from "./camera";
import type { Ground } from "./ground";

export type Look = { row: number } | { x: number; y: number };

/** What the pointer or the cross-hair is on. */
export const under = signal<Look | null>(null);
/** What was clicked, and stays until something else is. */
export const kept = signal<Look | null>(null);
/** The class that is shown alone. */
export const alone = signal<number | null>(null);
/** The camera when the map was left. */
export const before: { camera: Camera | null } = { camera: null };

export interface Seen {
  look: Look;
  x: Float64Array;
  code: Float32Array;
}

/** Measures of decoding that are kept, for whoever counts frames. */
const MEASURES = 2000;
let measured = 0;

/** What there is to see: the item of a row, or what the decoder makes of a place. */
export function useSeen(ground: Ground, look: Look): Seen | null {
  const told = condition.value;
  return useAnswer(async () => {
    if ("row" in look) {
      const rows = [look.row];
      const [x, q] = await Promise.all([backend.value.items(rows), backend.value.codes(rows)]);
      return { look, x, code: q.mean };
    }
    const start = performance.now();
    const code = ground.inverse.at(look.x, look.y);
    const x = await backend.value.decode(code, 1, told);
    if (++measured % MEASURES === 0) performance.clearMeasures("decode");
    performance.measure("decode", { start, end: performance.now() });
    return { look, x, code };
  }, ["row" in look ? look.row : `${look.x} ${look.y}`, told]);
}

/** Where that lies. */
export function placeOf(ground: Ground, look: Look): [number, number] {
  return "row" in look ? [ground.points![2 * look.row], ground.points![2 * look.row + 1]] : [look.x, look.y];
}
