/** Several items side by side, each a button. */

import { useMemo } from "preact/hooks";
import { features } from "../backend";
import { manifest } from "../state";
import { Thing } from "../Thing";
import "./parts.css";

export interface SheetProps {
  /** Values of all items, one after another; null while they are on their way. */
  values: Float64Array | null;
  n: number;
  /** What is written beneath; what the button does, which the drawing bears as its name. */
  caption: (i: number) => string;
  action: (i: number) => string;
  pick: (i: number) => void;
  current?: number;
}

export function Sheet({ values, n, caption, action, pick, current }: SheetProps) {
  const each = useEach(values, n);
  return (
    <div class={manifest.value.item.kind === "picture" ? "gallery" : "gallery rows"}>
      {Array.from({ length: n }, (_, i) => (
        <button
          key={i}
          onClick={() => pick(i)}
          title={action(i)}
          aria-current={i === current ? "true" : undefined}
        >
          <Thing x={each?.[i] ?? null} label={action(i)} small />
          {caption(i) && <span>{caption(i)}</span>}
        </button>
      ))}
    </div>
  );
}

/** One view of the values for each item; the same ones until the values change. */
export function useEach(values: Float64Array | null, n: number): Float64Array[] | null {
  const size = features(manifest.value);
  return useMemo(() => {
    if (!values || values.length < n * size) return null;
    return Array.from({ length: n }, (_, i) => values.subarray(i * size, (i + 1) * size));
  }, [values, n, size]);
}
