/** A histogram with a marker at one value. */

import { useMemo } from "preact/hooks";
import { formatNumber } from "../format";
import { histogram, quantiles, silhouette } from "./statistics";
import "./components.css";

const BINS = 60;

export function Histogram(props: { values: ArrayLike<number>; at: number; label: string }) {
  const { values, at, label } = props;
  const { low, high, shape } = useMemo(() => outline(values), [values]);
  const place = Math.min(1, Math.max(0, (at - low) / (high - low || 1)));
  return (
    <div class="histogram" role="img" aria-label={label}>
      <div class="histogram-box">
        <svg viewBox={`0 0 ${BINS} 1`} preserveAspectRatio="none" aria-hidden="true">
          <path d={shape} />
        </svg>
        <i class="marker" style={{ left: `${100 * place}%` }} />
      </div>
      <div class="histogram-ends" aria-hidden="true">
        <span>{formatNumber(low)}</span>
        <span>{formatNumber(high)}</span>
      </div>
    </div>
  );
}

/** The histogram between the 0.5% and 99.5% quantiles, so that outliers do not compress it. */
function outline(values: ArrayLike<number>) {
  const [low, high] = quantiles(values, [0.005, 0.995]);
  return { low, high, shape: silhouette(histogram(values, low, high, BINS)) };
}
