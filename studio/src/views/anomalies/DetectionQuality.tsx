/** Detection metrics of the threshold, if labels mark the anomalies. */

import { useMemo } from "preact/hooks";
import {
  auroc,
  averagePrecision,
  bestF1,
  metricsAt,
  metricsAtAllThresholds,
  type Ranking,
  type DetectionMetrics,
  type Labelled,
} from "../../detection";
import type { Column } from "../../manifest";
import { formatNumber, formatPercent } from "../../format";

interface Props {
  ranked: Ranking;
  known: Labelled | null;
  column: Column | null;
  candidates: Column[];
  /** Classes that count as anomalies. */
  chosen: ReadonlySet<number>;
  /** Whether they are a guess rather than a choice of the user. */
  guessed: boolean;
  truth: Uint8Array | null;
  at: number;
  onMove: (threshold: number) => void;
  onColumn: (column: Column | null) => void;
  onChoose: (classes: ReadonlySet<number>) => void;
}

export function DetectionQuality(props: Props) {
  const { ranked, known, column, candidates, chosen, guessed, truth, at } = props;
  const { onMove, onColumn, onChoose } = props;
  return (
    <>
      <div>
        <h3>Detection quality</h3>
        {candidates.length ? (
          <label class="score-field">
            Labels from{" "}
            <select
              value={column ? candidates.indexOf(column) : -1}
              onChange={(e) => onColumn(candidates[Number(e.currentTarget.value)] ?? null)}
            >
              <option value={-1}>none</option>
              {candidates.map((each, k) => (
                <option key={k} value={k}>
                  {each.name}
                </option>
              ))}
            </select>
          </label>
        ) : (
          <p class="soft">Precision and recall require labels, which these rows do not have.</p>
        )}
        {known && <Classes column={known.column} chosen={chosen} onChoose={onChoose} />}
        {guessed && truth && (
          <p class="soft">Guessed from the names and counts of the classes. Correct the selection if needed.</p>
        )}
        {known && !truth && (
          <p class="soft">Select the classes that count as anomalies to see precision and recall.</p>
        )}
      </div>
      {truth && <Metrics ranked={ranked} truth={truth} at={at} onMove={onMove} />}
    </>
  );
}

interface ClassesProps {
  column: Column;
  chosen: ReadonlySet<number>;
  onChoose: (classes: ReadonlySet<number>) => void;
}

function Classes({ column, chosen, onChoose }: ClassesProps) {
  const toggle = (k: number) => {
    const next = new Set(chosen);
    if (!next.delete(k)) next.add(k);
    onChoose(next);
  };
  return (
    <fieldset class="anomaly-classes">
      <legend>Anomalous classes</legend>
      <div>
        {column.categories!.map((name, k) => (
          <label key={k}>
            <input type="checkbox" checked={chosen.has(k)} onChange={() => toggle(k)} />
            {name}
          </label>
        ))}
      </div>
    </fieldset>
  );
}

interface MetricsProps {
  ranked: Ranking;
  truth: Uint8Array;
  at: number;
  onMove: (threshold: number) => void;
}

function Metrics({ ranked, truth, at, onMove }: MetricsProps) {
  const points = useMemo(() => metricsAtAllThresholds(ranked, truth), [ranked, truth]);
  const area = useMemo(() => auroc(ranked, truth), [ranked, truth]);
  const precise = useMemo(() => averagePrecision(points), [points]);
  const now = metricsAt(ranked, truth, at);
  const best = bestF1(points);
  const share = truth.reduce((sum, v) => sum + v, 0) / truth.length;
  return (
    <>
      <div>
        <table class="numbers">
          <caption class="unseen">Detection metrics at the threshold</caption>
          <tbody>
            <Fact name="Precision" about="share of flagged items that are anomalies" value={now.precision} />
            <Fact name="Recall" about="share of anomalies that are flagged" value={now.recall} />
            <Fact name="F1" about="harmonic mean of both" value={now.f1} />
            <Fact name="Average precision" about={`chance level ${formatNumber(share, 2)}`} value={precise} />
            <Fact name="AUROC" about="chance level 0.5" value={area} />
          </tbody>
        </table>
        <button disabled={!best || best.threshold === at} onClick={() => best && onMove(best.threshold)}>
          Use the threshold with the best F1
        </button>
      </div>
      <Curve points={points} now={now} share={share} />
    </>
  );
}

function Fact({ name, about, value }: { name: string; about: string; value: number }) {
  return (
    <tr>
      <th scope="row">
        <b>{name}</b> {about}
      </th>
      <td>{formatNumber(value)}</td>
    </tr>
  );
}

const MOST = 400; // maximum number of points drawn

function Curve({ points, now, share }: { points: DetectionMetrics[]; now: DetectionMetrics; share: number }) {
  const path = useMemo(() => {
    const step = Math.max(1, Math.ceil(points.length / MOST));
    const kept = points.filter((_, i) => i % step === 0 || i === points.length - 1);
    const along = (share: number) => (100 * share).toFixed(1);
    return kept.map((p) => `${along(p.recall)},${along(1 - p.precision)}`).join(" ");
  }, [points]);
  const level = 100 - 100 * share;
  return (
    <figure class="precision-recall">
      <svg
        viewBox="-4 -4 108 108"
        role="img"
        aria-label={`Precision-recall curve; precision ${formatPercent(now.precision)} at recall ${formatPercent(now.recall)}`}
      >
        <rect width={100} height={100} />
        <line x1={0} x2={100} y1={level} y2={level} />
        <polyline points={path} />
        {!Number.isNaN(now.precision) && (
          <circle cx={100 * now.recall} cy={100 - 100 * now.precision} r={3} />
        )}
      </svg>
      <figcaption>
        Precision (vertical) against recall (horizontal). The dot marks the threshold, the dashed line
        the chance level. The upper right corner is best.
      </figcaption>
    </figure>
  );
}
