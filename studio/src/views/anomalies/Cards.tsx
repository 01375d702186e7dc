/** Items with their scores, and where they deviate from what the model made of them. */

import { useMemo, useRef } from "preact/hooks";
import { features, type Numbers } from "../../backend";
import { commonTop, deviations, type Labelled } from "../../detection";
import { Heat } from "../../Heat";
import { decodeTold, ownClass, useKnown, type Known } from "../../parts/labels";
import { backend, manifest, showItem } from "../../state";
import { Thing, useAnswer } from "../../Thing";
import { cell, number } from "../../words";

/** An item, what the model made of it, and how far they are apart at each place. */
interface Look {
  x: Float64Array;
  made: Float64Array;
  off: Float64Array;
}

interface Props {
  rows: Int32Array;
  scores: Numbers;
  at: number;
  truth: Uint8Array | null;
  known: Labelled | null;
}

export function Strange({ rows, scores, at, truth, known }: Props) {
  const looks = useLooks(rows);
  const seen = Array.from(rows).filter((row) => looks?.has(row));
  const top = useMemo(() => commonTop(seen.map((row) => looks!.get(row)!.off)), [seen.join()]);
  return (
    <ul class={`by-score of-${manifest.value.item.kind}`}>
      {Array.from(rows, (row) => (
        <Card
          key={row}
          row={row}
          look={looks?.get(row) ?? null}
          top={top}
          score={scores[row]}
          beyond={scores[row] >= at}
          anomaly={truth && truth[row] === 1}
          label={known && (known.column.categories![known.classes[row]] ?? "–")}
        />
      ))}
    </ul>
  );
}

interface CardProps extends BodyProps {
  score: number;
  beyond: boolean;
  /** What the label says; null where there is none. */
  anomaly: boolean | null;
  label: string | null;
}

function Card({ row, look, top, score, beyond, anomaly, label }: CardProps) {
  // Drawn once, and not again each time the threshold moves.
  const body = useMemo(() => <Body look={look} row={row} top={top} />, [look, row, top]);
  return (
    <li>
      <button class={beyond ? "beyond" : undefined} onClick={() => showItem(row)}>
        <span class="head">
          <b>{number(score)}</b>
          <span class={(anomaly ?? beyond) === beyond ? "soft" : "wrong"}>{said(beyond, anomaly)}</span>
        </span>
        {body}
        <span class="foot">
          item {row}
          {label !== null && ` · ${label}`}
        </span>
      </button>
    </li>
  );
}

/** What the threshold says of an item, and whether its label agrees. */
function said(flagged: boolean, anomaly: boolean | null): string {
  if (anomaly === null) return flagged ? "flagged" : "";
  if (anomaly) return flagged ? "found" : "missed";
  return flagged ? "false alarm" : "";
}

const BATCH = 24; // items decoded at once

/** Look at rows; those that were shown before are not decoded again. */
function useLooks(rows: Int32Array): Map<number, Look> | null {
  const labels = useKnown();
  const kept = useRef(new Map<number, Look>());
  return useAnswer(async () => {
    if (!labels) return null;
    const fresh = rows.filter((row) => !kept.current.has(row));
    for (let i = 0; i < fresh.length; i += BATCH)
      await look(fresh.subarray(i, i + BATCH), labels, kept.current);
    kept.current = new Map(Array.from(rows, (row) => [row, kept.current.get(row)!]));
    return kept.current;
  }, [rows, labels]);
}

async function look(rows: Int32Array, labels: Known, into: Map<number, Look>): Promise<void> {
  const [items, codes] = await Promise.all([backend.value.items(rows), backend.value.codes(rows)]);
  const told = Array.from(rows, (row) => ownClass(labels, row));
  const all = await decodeTold(codes.mean, told);
  const size = features(manifest.value);
  rows.forEach((row, i) => {
    const [x, made] = [items, all].map((v) => v.slice(i * size, (i + 1) * size));
    into.set(row, { x, made, off: deviations(manifest.value.item, x, made) });
  });
}

interface BodyProps {
  look: Look | null;
  row: number;
  top: number;
}

function Body({ look, row, top }: BodyProps) {
  const { kind } = manifest.value.item;
  if (kind === "table" || kind === "vector") return <Furthest look={look} top={top} />;
  return (
    <span class="item-and-heat">
      <Thing x={look && look.x} label={`item ${row}`} small />
      {look ? (
        <Heat values={look.off} top={top} label={`where item ${row} deviates`} />
      ) : (
        <span class={kind === "picture" ? "picture" : "strip"} />
      )}
    </span>
  );
}

const FEW = 5; // columns on a card

/** The columns that deviate most, with bars as long as they are spreads away. */
function Furthest({ look, top }: Omit<BodyProps, "row">) {
  if (!look) return <span class="furthest" />;
  const all = manifest.value.item.features ?? [];
  const order = [...look.off.keys()].sort((a, b) => look.off[b] - look.off[a]).slice(0, FEW);
  return (
    <span class="furthest">
      {order.map((j) => (
        <span key={j}>
          <span>{all[j].name}</span>
          <span>
            {cell(all[j], look.x[j])}{" "}
            {look.off[j] > 0 && <span class="expected">not {cell(all[j], look.made[j])}</span>}
          </span>
          <i style={{ width: `${100 * Math.min(1, Math.sqrt(look.off[j] / top))}%` }} />
        </span>
      ))}
    </span>
  );
}
