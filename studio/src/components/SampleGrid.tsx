/** A grid of items, each a button. */

import { useMemo } from "preact/hooks";
import { itemSize } from "../backend";
import { manifest } from "../state";
import { SampleView } from "../SampleView";
import "./components.css";

export interface SampleGridProps {
  /** Values of all items, one after another; null while they load. */
  values: Float64Array | null;
  n: number;
  /** The caption, and the accessible name of the button. */
  caption: (i: number) => string;
  action: (i: number) => string;
  pick: (i: number) => void;
  current?: number;
}

export function SampleGrid({ values, n, caption, action, pick, current }: SampleGridProps) {
  const each = useEach(values, n);
  return (
    <div class={manifest.value.item.kind === "image" ? "gallery" : "gallery rows"}>
      {Array.from({ length: n }, (_, i) => (
        <button
          key={i}
          onClick={() => pick(i)}
          title={action(i)}
          aria-current={i === current ? "true" : undefined}
        >
          <SampleView x={each?.[i] ?? null} label={action(i)} small />
          {caption(i) && <span>{caption(i)}</span>}
        </button>
      ))}
    </div>
  );
}

/** Split the values into one view per item. */
export function useEach(values: Float64Array | null, n: number): Float64Array[] | null {
  const size = itemSize(manifest.value);
  return useMemo(() => {
    if (!values || values.length < n * size) return null;
    return Array.from({ length: n }, (_, i) => values.subarray(i * size, (i + 1) * size));
  }, [values, n, size]);
}
