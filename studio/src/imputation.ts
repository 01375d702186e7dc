/** Imputation of the hidden part of an item. */

import type { Condition } from "./backend";
import { missingFrom, type Mask } from "./mask";
import { selectedClass, backend } from "./state";
import { useQuery } from "./SampleView";

export interface Imputed {
  x: Float64Array;
  /** 1 for each value of x that the model does not see. */
  hidden: Mask;
  values: Float64Array;
  std: Float64Array | null;
}

/** Impute an item again whenever the mask changes. */
export function useImputation(x: Float64Array | null, mask: Mask): Imputed | null {
  const condition = selectedClass.value;
  return useQuery(() => impute(x, mask, condition), [x, mask, condition]);
}

async function impute(x: Float64Array | null, mask: Mask, condition: Condition): Promise<Imputed | null> {
  if (!x) return null;
  const hidden = missingFrom(x, mask);
  if (!hidden.includes(1)) return { x, hidden, values: x, std: null };
  const { x: values, std } = await backend.value.impute(x, hidden, condition);
  return { x, hidden, values, std };
}
