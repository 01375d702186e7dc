/** How much there is of something at each place of an item: a map of a picture, a strip of a signal. */

import { useEffect, useMemo, useRef } from "preact/hooks";
import { fieldBytes, paint, pictureSize } from "./draw";
import { manifest } from "./state";
import { Field } from "./Thing";

interface Props {
  values: ArrayLike<number>;
  /** The value of the brightest colour. */
  top: number;
  label: string;
}

export function Heat({ values, top, label }: Props) {
  const shares = useMemo(() => Float64Array.from(values, (v) => v / top || 0), [values, top]);
  if (manifest.value.item.kind === "picture") return <Field values={shares} how="heat" label={label} />;
  return <Strip shares={shares} label={label} />;
}

/** A row of colours for each channel, as wide as the wave above it. */
function Strip({ shares, label }: { shares: Float64Array; label: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = pictureSize(manifest.value.item);
  useEffect(() => {
    if (canvas.current) paint(canvas.current, fieldBytes(shares, "heat"), width, height);
  }, [shares]);
  return <canvas ref={canvas} class="strip" role="img" aria-label={label} />;
}
