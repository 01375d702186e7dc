/** An item with a part hidden, and what the model makes of that part. */

import type { Condition } from "./backend";
import { missingFrom, type Mask } from "./brush";
import { condition, backend } from "./state";
import { useAnswer } from "./Thing";

export interface Filled {
  x: Float64Array;
  /** What the model was not told, a number for each of x. */
  hidden: Mask;
  made: Float64Array;
  std: Float64Array | null;
}

/** The completion of an item; of a mask that moves faster than answers come, the last asked. */
export function useCompletion(x: Float64Array | null, mask: Mask): Filled | null {
  const told = condition.value;
  return useAnswer(() => complete(x, mask, told), [x, mask, told]);
}

async function complete(x: Float64Array | null, mask: Mask, told: Condition): Promise<Filled | null> {
  if (!x) return null;
  const hidden = missingFrom(x, mask);
  if (!hidden.includes(1)) return { x, hidden, made: x, std: null };
  const { x: made, std } = await backend.value.repair(x, hidden, told);
  return { x, hidden, made, std };
}
