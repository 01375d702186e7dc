/** Non-negative values of an item as colours: a heatmap of an image, a strip along a signal. */

import { useEffect, useMemo, useRef } from "preact/hooks";
import { fieldBytes, paint, imageSize } from "./draw";
import { manifest } from "./state";
import { Field } from "./SampleView";

interface Props {
  values: ArrayLike<number>;
  /** The value shown in the brightest colour. */
  top: number;
  label: string;
}

export function Heatmap({ values, top, label }: Props) {
  const shares = useMemo(() => Float64Array.from(values, (v) => v / top || 0), [values, top]);
  if (manifest.value.item.kind === "image") return <Field values={shares} how="heat" label={label} />;
  return <HeatStrip shares={shares} label={label} />;
}

/** A row of colours per channel, as wide as the waveform above it. */
function HeatStrip({ shares, label }: { shares: Float64Array; label: string }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = imageSize(manifest.value.item);
  useEffect(() => {
    if (canvas.current) paint(canvas.current, fieldBytes(shares, "heat"), width, height);
  }, [shares]);
  return <canvas ref={canvas} class="strip" role="img" aria-label={label} />;
}
