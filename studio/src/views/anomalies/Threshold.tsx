/** A histogram of all scores with the threshold from which items are flagged. */

import { useMemo } from "preact/hooks";
import {
  flagged,
  histogram,
  scoreAt,
  shareOf,
  thresholdFor,
  type Axis,
  type Ranking,
} from "../../detection";
import { formatCount, formatNumber, formatPercent } from "../../format";
import "../../components/components.css";

interface Props {
  ranked: Ranking;
  axis: Axis;
  at: number;
  unit: string;
  truth: Uint8Array | null;
  onMove: (threshold: number) => void;
}

const STEPS = 1000;

export function Threshold({ ranked, axis, at, unit, truth, onMove }: Props) {
  const n = ranked.rows.length;
  const caught = flagged(ranked, at);
  const value = unit ? `${formatNumber(at)} ${unit}` : formatNumber(at);
  const shareAt = (to: number) => String(+((100 * flagged(ranked, to)) / n).toPrecision(3));
  const words = `${formatCount(caught)} of ${formatCount(n)} flagged`;
  return (
    <>
      <h3>
        <label for="threshold">Threshold</label>
      </h3>
      <div class="score-histogram">
        <Bars ranked={ranked} axis={axis} at={at} truth={truth} onMove={onMove} />
        <input
          id="threshold"
          type="range"
          min={0}
          max={STEPS}
          value={Math.round(shareOf(axis, at) * STEPS)}
          aria-valuetext={`score ${value}: ${words}`}
          onInput={(e) => onMove(scoreAt(axis, e.currentTarget.valueAsNumber / STEPS))}
        />
        <div class="ends histogram-ends" aria-hidden="true">
          <span>{formatNumber(axis.low)}</span>
          <span>{formatNumber(axis.high)}</span>
        </div>
      </div>
      <p class="score-legend">
        <span>
          <i /> not flagged
        </span>
        <span>
          <i class="flagged" /> flagged
        </span>
        {truth && (
          <span>
            <i class="labelled" /> labelled anomalies
          </span>
        )}
      </p>
      <p class="flag-words">
        <b>{words}</b> ({formatPercent(caught / n)}): items with a score of at least {value}.
      </p>
      <label class="score-field">
        Flag the highest{" "}
        <input
          type="number"
          min={0}
          max={100}
          step="any"
          value={shareAt(at)}
          onChange={(e) => {
            const share = e.currentTarget.valueAsNumber / 100;
            const to = share >= 0 && share <= 1 ? thresholdFor(ranked, share) : at;
            onMove(to);
            e.currentTarget.value = shareAt(to); // ties may not allow this share
          }}
        />
        %
      </label>
      <p class="soft">
        Bar heights show the square root of the count, so that small counts remain visible
        {axis.log && "; the axis is logarithmic"}. Anomalies ideally form a separate tail on the right.
      </p>
    </>
  );
}

const BINS = 64;

function Bars({ ranked, axis, at, truth, onMove }: Omit<Props, "unit">) {
  const { all, anomalies } = useMemo(() => {
    const own = truth && ranked.scores.filter((_, k) => truth[ranked.rows[k]]);
    return { all: histogram(ranked.scores, axis, BINS), anomalies: histogram(own ?? [], axis, BINS) };
  }, [ranked, axis, truth]);
  const most = Math.sqrt(Math.max(...all) || 1);
  const place = shareOf(axis, at);
  const drag = (event: PointerEvent) => {
    const box = (event.currentTarget as Element).getBoundingClientRect();
    if (event.buttons & 1) onMove(scoreAt(axis, Math.max(0, (event.clientX - box.left) / box.width)));
  };
  return (
    <svg
      viewBox={`0 0 ${BINS} 1`}
      preserveAspectRatio="none"
      role="img"
      aria-label={`Histogram of the scores from ${formatNumber(axis.low)} to ${formatNumber(axis.high)}`}
      onPointerDown={(e) => {
        e.currentTarget.setPointerCapture(e.pointerId);
        drag(e);
      }}
      onPointerMove={drag}
      >
      <clipPath id="flagged-part">
        <rect x={place * BINS} y={0} width={BINS} height={1} />
      </clipPath>
      <path d={bars(all, most)} class="usual" />
      <path d={bars(all, most)} class="flagged" clip-path="url(#flagged-part)" />
      {truth && <path d={bars(anomalies, most)} class="labelled" />}
      <line x1={place * BINS} x2={place * BINS} y1={0} y2={1} />
    </svg>
  );
}

function bars(counts: Int32Array, most: number): string {
  return Array.from(counts, (c, i) =>
    c ? `M${i + 0.08} 1V${(1 - Math.sqrt(c) / most).toFixed(3)}h.84V1z` : "",
  ).join("");
}
