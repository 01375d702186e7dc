/** Items sorted by how strange the model finds them, and a threshold that flags them. */

import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import type { Numbers } from "../backend";
import {
  axisOf,
  flagged,
  likelyAnomalies,
  marks,
  ordered,
  ranking,
  strangest,
  type Order,
  type Ranking,
  type Labelled,
} from "../detection";
import type { Column, ItemKind, Score } from "../manifest";
import { classColumn } from "../parts/labels";
import { backend, manifest } from "../state";
import { useAnswer } from "../Thing";
import { count, csv, download, percent } from "../words";
import { Strange } from "./anomalies/Cards";
import { Threshold } from "./anomalies/Threshold";
import { Truth } from "./anomalies/Truth";
import "./Anomalies.css";

/** Kept while other views are shown; null is the default, made from the data. */
const scored = signal(0);
const threshold = signal<number | null>(null);
const labelled = signal<Column | null | undefined>(undefined);
const anomalies = signal<ReadonlySet<number> | null>(null);
const order = signal<Order>("strange");
const limit = signal(0);

const FLAGGED = 0.05;
const PAGE = 24;

const ORDERS: [Order, string][] = [
  ["strange", "Strangest first"],
  ["normal", "Most normal first"],
  ["near", "Near the threshold"],
];

export function Anomalies() {
  const { scores, columns } = manifest.value;
  const score = scores[scored.value];
  const column = labelled.value === undefined ? classColumn(manifest.value) : labelled.value;
  const values = useAnswer(async () => (score ? named(score.array) : null), [score?.array]);
  const classes = useAnswer(async () => (column ? named(column.array) : null), [column?.array]);
  const ranked = useMemo(() => values && ranking(values.numbers), [values]);
  if (!score) return <p class="empty">This run keeps no scores of its rows.</p>;
  if (!ranked || values?.name !== score.array) return <p class="soft">Sorting items by their score …</p>;
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

/** An array with its name: an answer may be the one to the question before. */
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
    () => (known && chosen.size ? marks(known.classes, chosen) : null),
    [known?.classes, chosen],
  );
  const axis = useMemo(() => axisOf(ranked.scores), [ranked]);
  const at = threshold.value ?? strangest(ranked, FLAGGED);
  const move = (to: number) => (threshold.value = to);
  return (
    <>
      <ScoreChoice score={score} />
      <section class="card" aria-label="Threshold">
        <Threshold ranked={ranked} axis={axis} at={at} unit={score.unit} truth={truth} onMove={move} />
      </section>
      <section class="card judged" aria-label="Labels">
        <Truth
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
              threshold.value = null; // in another unit
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
        The higher an item's {score.name}
        {score.unit && ` (${score.unit})`}, the stranger the model finds it.
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
  // Only one order depends on the threshold.
  const about = order.value === "near" ? at : 0;
  const rows = useMemo(
    () => ordered(ranked, order.value, about, shown),
    [ranked, order.value, about, shown],
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
          Save flagged as CSV
        </button>
      </div>
      <p class="soft">
        {looksAs(manifest.value.item.kind)} Click one to look closer.
      </p>
      <Strange rows={rows} scores={values} at={at} truth={truth} known={known} />
      <div class="bar more">
        <span class="soft">
          {count(rows.length)} of {count(n)} items ({percent(rows.length / n)})
        </span>
        {rows.length < n && <button onClick={() => (limit.value = shown + PAGE)}>Show {PAGE} more</button>}
      </div>
    </section>
  );
}

/** What the cards show, in words. */
function looksAs(kind: ItemKind): string {
  if (kind === "picture" || kind === "signal")
    return "Bright is where an item differs from what the model makes of it, on one scale for all cards.";
  return "The columns furthest from what the model makes of them; a longer bar is further, in spreads.";
}

/** Keep the flagged items as a file, strangest first. */
function save(score: Score, values: Numbers, ranked: Ranking, at: number, known: Labelled | null): void {
  const rows = ordered(ranked, "strange", at, flagged(ranked, at));
  const label = (row: number) => (known ? [known.column.categories![known.classes[row]] ?? ""] : []);
  const lines = Array.from(rows, (row) => [row, values[row], ...label(row)]);
  download("anomalies.csv", csv(["item", score.name, ...(known ? [known.column.name] : [])], lines));
}
