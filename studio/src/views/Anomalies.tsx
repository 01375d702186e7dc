/** Items sorted by anomaly score, and a threshold that flags them. */

import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { Numbers } from "../backend";
import {
  axisOf,
  flagged,
  likelyAnomalies,
  anomalyMask,
  ordered,
  ranking,
  thresholdFor,
  type Order,
  type Ranking,
  type Labelled,
} from "../detection";
import type { Column, ItemKind, Score } from "../manifest";
import { classColumn } from "../components/labels";
import { backend, manifest } from "../state";
import { useQuery } from "../SampleView";
import { formatCount, csv, download, formatPercent } from "../format";
import { AnomalyCards } from "./anomalies/AnomalyCards";
import { Threshold } from "./anomalies/Threshold";
import { DetectionQuality } from "./anomalies/DetectionQuality";
import "./Anomalies.css";

/** State kept while other views are open; null means the default derived from the data. */
const scored = signal(0);
const threshold = signal<number | null>(null);
const labelled = signal<Column | null | undefined>(undefined);
const anomalies = signal<ReadonlySet<number> | null>(null);
const order = signal<Order>("anomalous");
const limit = signal(0);

const FLAGGED = 0.05;
const PAGE = 24;

const ORDERS: [Order, string][] = [
  ["anomalous", "Most anomalous first"],
  ["normal", "Most normal first"],
  ["near", "Nearest to the threshold"],
];

export function Anomalies() {
  const { scores, columns } = manifest.value;
  const score = scores[scored.value];
  const column = labelled.value === undefined ? classColumn(manifest.value) : labelled.value;
  const values = useQuery(async () => (score ? named(score.array) : null), [score?.array]);
  const classes = useQuery(async () => (column ? named(column.array) : null), [column?.array]);
  const ranked = useMemo(() => values && ranking(values.numbers), [values]);
  if (!score) return <p class="empty">No anomaly scores are available for this run.</p>;
  if (!ranked || values?.name !== score.array) return <p class="soft">Sorting items by score…</p>;
  const known = column && classes?.name === column.array ? { column, classes: classes.numbers } : null;
  const candidates = columns.filter((each) => each.categories);
  return (
    <Ranked
      score={score}
      values={values.numbers}
      ranked={ranked}
      known={known}
      column={column}
      candidates={candidates}
    />
  );
}

/** Load an array together with its name, to recognize results of an earlier query. */
async function named(name: string): Promise<{ name: string; numbers: Numbers }> {
  return { name, numbers: await backend.value.array(name) };
}

interface Props {
  score: Score;
  values: Numbers;
  ranked: Ranking;
  known: Labelled | null;
  column: Column | null;
  candidates: Column[];
}

function Ranked({ score, values, ranked, known, column, candidates }: Props) {
  const guess = useMemo(
    () => new Set(known ? likelyAnomalies(known.column.categories!, known.classes) : []),
    [known?.classes],
  );
  const chosen = anomalies.value ?? guess;
  const truth = useMemo(
    () => (known && chosen.size ? anomalyMask(known.classes, chosen) : null),
    [known?.classes, chosen],
  );
  const axis = useMemo(() => axisOf(ranked.scores), [ranked]);
  const at = threshold.value ?? thresholdFor(ranked, FLAGGED);
  const move = (to: number) => (threshold.value = to);
  return (
    <>
      <ScoreChoice score={score} />
      <section class="card" aria-label="Threshold">
        <Threshold ranked={ranked} axis={axis} at={at} unit={score.unit} truth={truth} onMove={move} />
      </section>
      <section class="card metrics" aria-label="Labels">
        <DetectionQuality
          ranked={ranked}
          known={known}
          column={column}
          candidates={candidates}
          chosen={chosen}
          guessed={!anomalies.value}
          truth={truth}
          at={at}
          onMove={move}
          onColumn={(to) => {
            labelled.value = to;
            anomalies.value = null;
          }}
          onChoose={(to) => (anomalies.value = to)}
        />
      </section>
      <Gallery score={score} values={values} ranked={ranked} at={at} truth={truth} known={known} />
    </>
  );
}

function ScoreChoice({ score }: { score: Score }) {
  const { scores } = manifest.value;
  return (
    <div class="bar">
      {scores.length > 1 && (
        <label>
          Score
          <select
            value={scored.value}
            onChange={(e) => {
              scored.value = Number(e.currentTarget.value);
              threshold.value = null; // scores have different units
            }}
          >
            {scores.map((each, k) => (
              <option key={k} value={k}>
                {each.name}
              </option>
            ))}
          </select>
        </label>
      )}
      <span class="soft">
        A higher {score.name}
        {score.unit && ` (${score.unit})`} means a more anomalous item.
      </span>
    </div>
  );
}

interface GalleryProps {
  score: Score;
  values: Numbers;
  ranked: Ranking;
  at: number;
  truth: Uint8Array | null;
  known: Labelled | null;
}

function Gallery({ score, values, ranked, at, truth, known }: GalleryProps) {
  const shown = Math.max(PAGE, limit.value);
  // Only this order depends on the threshold.
  const reference = order.value === "near" ? at : 0;
  const rows = useMemo(
    () => ordered(ranked, order.value, reference, shown),
    [ranked, order.value, reference, shown],
  );
  const n = ranked.rows.length;
  return (
    <section aria-label="Items">
      <div class="bar gallery-bar">
        <div class="bar" role="group" aria-label="Order">
          {ORDERS.map(([key, name]) => (
            <button
              key={key}
              aria-pressed={order.value === key}
              onClick={() => {
                order.value = key;
                limit.value = PAGE;
              }}
            >
              {name}
            </button>
          ))}
        </div>
        <button class="push" onClick={() => save(score, values, ranked, at, known)}>
          Export flagged as CSV
        </button>
      </div>
      <p class="soft">
        {describeCards(manifest.value.item.kind)} Click an item to open it.
      </p>
      <AnomalyCards rows={rows} scores={values} at={at} truth={truth} known={known} />
      <div class="bar more">
        <span class="soft">
          {formatCount(rows.length)} of {formatCount(n)} items ({formatPercent(rows.length / n)})
        </span>
        {rows.length < n && <button onClick={() => (limit.value = shown + PAGE)}>Show {PAGE} more</button>}
      </div>
    </section>
  );
}

/** Explain what the cards show. */
function describeCards(kind: ItemKind): string {
  if (kind === "image" || kind === "signal")
    return "Bright areas differ most from the reconstruction; all cards share one scale.";
  return "The columns with the largest reconstruction errors; bars are in standard deviations of the column.";
}

/** Save the flagged items as CSV, most anomalous first. */
function save(score: Score, values: Numbers, ranked: Ranking, at: number, known: Labelled | null): void {
  const rows = ordered(ranked, "anomalous", at, flagged(ranked, at));
  const label = (row: number) => (known ? [known.column.categories![known.classes[row]] ?? ""] : []);
  const lines = Array.from(rows, (row) => [row, values[row], ...label(row)]);
  download("anomalies.csv", csv(["item", score.name, ...(known ? [known.column.name] : [])], lines));
}
