/** How right the threshold is, where labels tell which items are anomalies. */

import { useMemo } from "preact/hooks";
import {
  auroc,
  averagePrecision,
  bestF1,
  verdictAt,
  verdicts,
  type Ranking,
  type Verdict,
  type Labelled,
} from "../../detection";
import type { Column } from "../../manifest";
import { number, percent } from "../../words";

interface Props {
  ranked: Ranking;
  known: Labelled | null;
  column: Column | null;
  candidates: Column[];
  /** Classes that count as anomalies. */
  chosen: ReadonlySet<number>;
  /** Whether nobody has chosen them yet. */
  guessed: boolean;
  truth: Uint8Array | null;
  at: number;
  onMove: (threshold: number) => void;
  onColumn: (column: Column | null) => void;
  onChoose: (classes: ReadonlySet<number>) => void;
}

export function Truth(props: Props) {
  const { ranked, known, column, candidates, chosen, guessed, truth, at } = props;
  const { onMove, onColumn, onChoose } = props;
  return (
    <>
      <div>
        <h3>Is it right?</h3>
        {candidates.length ? (
          <label class="score-field">
            Labels from{" "}
            <select
              value={column ? candidates.indexOf(column) : -1}
              onChange={(e) => onColumn(candidates[Number(e.currentTarget.value)] ?? null)}
            >
              <option value={-1}>no column</option>
              {candidates.map((each, k) => (
                <option key={k} value={k}>
                  {each.name}
                </option>
              ))}
            </select>
          </label>
        ) : (
          <p class="soft">These rows have no labels, so precision and recall are unknown.</p>
        )}
        {known && <Classes column={known.column} chosen={chosen} onChoose={onChoose} />}
        {guessed && truth && (
          <p class="soft">Guessed from the classes' names and counts: change it where it is wrong.</p>
        )}
        {known && !truth && (
          <p class="soft">Choose which classes count as anomalies, to see precision and recall.</p>
        )}
      </div>
      {truth && <Judged ranked={ranked} truth={truth} at={at} onMove={onMove} />}
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
      <legend>Anomalies are</legend>
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

interface JudgedProps {
  ranked: Ranking;
  truth: Uint8Array;
  at: number;
  onMove: (threshold: number) => void;
}

function Judged({ ranked, truth, at, onMove }: JudgedProps) {
  const points = useMemo(() => verdicts(ranked, truth), [ranked, truth]);
  const area = useMemo(() => auroc(ranked, truth), [ranked, truth]);
  const precise = useMemo(() => averagePrecision(points), [points]);
  const now = verdictAt(ranked, truth, at);
  const best = bestF1(points);
  const share = truth.reduce((sum, v) => sum + v, 0) / truth.length;
  return (
    <>
      <div>
        <table class="numbers">
          <caption class="unseen">How right the threshold is</caption>
          <tbody>
            <Fact name="Precision" about="of the flagged, anomalies" value={now.precision} />
            <Fact name="Recall" about="of the anomalies, flagged" value={now.recall} />
            <Fact name="F1" about="both at once" value={now.f1} />
            <Fact name="Average precision" about={`by chance ${number(share, 2)}`} value={precise} />
            <Fact name="AUROC" about="by chance 0.5" value={area} />
          </tbody>
        </table>
        <button disabled={!best || best.threshold === at} onClick={() => best && onMove(best.threshold)}>
          Go to the best F1
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
      <td>{number(value)}</td>
    </tr>
  );
}

const MOST = 400; // points of the curve that are drawn

function Curve({ points, now, share }: { points: Verdict[]; now: Verdict; share: number }) {
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
        aria-label={`Precision by recall; now ${percent(now.precision)} at recall ${percent(now.recall)}`}
      >
        <rect width={100} height={100} />
        <line x1={0} x2={100} y1={level} y2={level} />
        <polyline points={path} />
        {!Number.isNaN(now.precision) && (
          <circle cx={100 * now.recall} cy={100 - 100 * now.precision} r={3} />
        )}
      </svg>
      <figcaption>
        Precision (up) by recall (right). The dot is the threshold; dashes are chance. Good is close to the
        upper right corner.
      </figcaption>
    </figure>
  );
}
