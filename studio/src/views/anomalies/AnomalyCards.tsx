/** Cards of items with their scores and the location of their reconstruction errors. */

import { useMemo, useRef } from "preact/hooks";
import { itemSize, type Numbers } from "../../backend";
import { sharedScale, squaredErrors, type Labelled } from "../../detection";
import { Heatmap } from "../../Heatmap";
import { decodeWithConditions, ownClass, useRowLabels, type RowLabels } from "../../components/labels";
import { backend, manifest, showItem } from "../../state";
import { SampleView, useQuery } from "../../SampleView";
import { formatCell, formatNumber } from "../../format";

/** An item, its reconstruction and the squared error at each value. */
interface Reconstructed {
  x: Float64Array;
  reconstruction: Float64Array;
  errors: Float64Array;
}

interface Props {
  rows: Int32Array;
  scores: Numbers;
  at: number;
  truth: Uint8Array | null;
  known: Labelled | null;
}

export function AnomalyCards({ rows, scores, at, truth, known }: Props) {
  const loaded = useReconstructions(rows);
  const ready = Array.from(rows).filter((row) => loaded?.has(row));
  const top = useMemo(() => sharedScale(ready.map((row) => loaded!.get(row)!.errors)), [ready.join()]);
  return (
    <ul class={`by-score of-${manifest.value.item.kind}`}>
      {Array.from(rows, (row) => (
        <Card
          key={row}
          row={row}
          loaded={loaded?.get(row) ?? null}
          top={top}
          score={scores[row]}
          flagged={scores[row] >= at}
          anomaly={truth && truth[row] === 1}
          label={known && (known.column.categories![known.classes[row]] ?? "–")}
        />
      ))}
    </ul>
  );
}

interface CardProps extends BodyProps {
  score: number;
  flagged: boolean;
  /** Whether the label marks an anomaly; null without labels. */
  anomaly: boolean | null;
  label: string | null;
}

function Card({ row, loaded, top, score, flagged, anomaly, label }: CardProps) {
  // Not rendered again when only the threshold changes.
  const body = useMemo(() => <Body loaded={loaded} row={row} top={top} />, [loaded, row, top]);
  return (
    <li>
      <button class={flagged ? "flagged" : undefined} onClick={() => showItem(row)}>
        <span class="head">
          <b>{formatNumber(score)}</b>
          <span class={(anomaly ?? flagged) === flagged ? "soft" : "wrong"}>{outcome(flagged, anomaly)}</span>
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

/** Compare the threshold's decision with the label. */
function outcome(flagged: boolean, anomaly: boolean | null): string {
  if (anomaly === null) return flagged ? "flagged" : "";
  if (anomaly) return flagged ? "detected" : "missed";
  return flagged ? "false positive" : "";
}

const BATCH = 24; // items decoded at once

/** Load rows with their reconstructions; rows shown before are reused. */
function useReconstructions(rows: Int32Array): Map<number, Reconstructed> | null {
  const labels = useRowLabels();
  const cache = useRef(new Map<number, Reconstructed>());
  return useQuery(async () => {
    if (!labels) return null;
    const missing = rows.filter((row) => !cache.current.has(row));
    for (let i = 0; i < missing.length; i += BATCH)
      await loadReconstructions(missing.subarray(i, i + BATCH), labels, cache.current);
    cache.current = new Map(Array.from(rows, (row) => [row, cache.current.get(row)!]));
    return cache.current;
  }, [rows, labels]);
}

async function loadReconstructions(rows: Int32Array, labels: RowLabels, cache: Map<number, Reconstructed>): Promise<void> {
  const [items, codes] = await Promise.all([backend.value.items(rows), backend.value.codes(rows)]);
  const condition = Array.from(rows, (row) => ownClass(labels, row));
  const all = await decodeWithConditions(codes.mean, condition);
  const size = itemSize(manifest.value);
  rows.forEach((row, i) => {
    const [x, reconstruction] = [items, all].map((v) => v.slice(i * size, (i + 1) * size));
    cache.set(row, { x, reconstruction, errors: squaredErrors(manifest.value.item, x, reconstruction) });
  });
}

interface BodyProps {
  loaded: Reconstructed | null;
  row: number;
  top: number;
}

function Body({ loaded, row, top }: BodyProps) {
  const { kind } = manifest.value.item;
  if (kind === "table" || kind === "vector") return <LargestErrors loaded={loaded} top={top} />;
  return (
    <span class="item-and-heat">
      <SampleView x={loaded && loaded.x} label={`item ${row}`} small />
      {loaded ? (
        <Heatmap values={loaded.errors} top={top} label={`reconstruction error of item ${row}`} />
      ) : (
        <span class={kind === "image" ? "image" : "strip"} />
      )}
    </span>
  );
}

const FEW = 5; // columns shown on a card

/** The columns with the largest errors, with bars in standard deviations. */
function LargestErrors({ loaded, top }: Omit<BodyProps, "row">) {
  if (!loaded) return <span class="largest-errors" />;
  const all = manifest.value.item.features ?? [];
  const order = [...loaded.errors.keys()].sort((a, b) => loaded.errors[b] - loaded.errors[a]).slice(0, FEW);
  return (
    <span class="largest-errors">
      {order.map((j) => (
        <span key={j}>
          <span>{all[j].name}</span>
          <span>
            {formatCell(all[j], loaded.x[j])}{" "}
            {loaded.errors[j] > 0 && <span class="expected">expected {formatCell(all[j], loaded.reconstruction[j])}</span>}
          </span>
          <i style={{ width: `${100 * Math.min(1, Math.sqrt(loaded.errors[j] / top))}%` }} />
        </span>
      ))}
    </span>
  );
}
