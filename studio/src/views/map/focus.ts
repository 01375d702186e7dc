/** The focus of the map: an item or a position. */

import { signal } from "@preact/signals";
import { useQuery } from "../../SampleView";
import { backend, selectedClass } from "../../state";
import type { Camera } from "./camera";
import type { MapData } from "./mapData";

export type Focus = { row: number } | { x: number; y: number };

/** The focus under the pointer or cross-hair. */
export const hovered = signal<Focus | null>(null);
/** The focus that was last clicked. */
export const pinned = signal<Focus | null>(null);
/** The highlighted class. */
export const highlighted = signal<number | null>(null);
/** The camera, pinned while other views are open. */
export const savedView: { camera: Camera | null } = { camera: null };

export interface Focused {
  focus: Focus;
  x: Float64Array;
  code: Float32Array;
}

/** Number of performance measures pinned. */
const MEASURES = 2000;
let measured = 0;

/** Load the item of a row, or decode a position. */
export function useFocused(mapData: MapData, focus: Focus): Focused | null {
  const condition = selectedClass.value;
  return useQuery(async () => {
    if ("row" in focus) {
      const rows = [focus.row];
      const [x, q] = await Promise.all([backend.value.items(rows), backend.value.codes(rows)]);
      return { focus, x, code: q.mean };
    }
    const start = performance.now();
    const code = mapData.inverse.at(focus.x, focus.y);
    const x = await backend.value.decode(code, 1, condition);
    if (++measured % MEASURES === 0) performance.clearMeasures("decode");
    performance.measure("decode", { start, end: performance.now() });
    return { focus, x, code };
  }, ["row" in focus ? focus.row : `${focus.x} ${focus.y}`, condition]);
}

/** The position of a focus. */
export function positionOf(mapData: MapData, focus: Focus): [number, number] {
  return "row" in focus ? [mapData.points![2 * focus.row], mapData.points![2 * focus.row + 1]] : [focus.x, focus.y];
}
