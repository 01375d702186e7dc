/** One item: reconstruction, code, nearest neighbours, anomaly score and metadata. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Condition } from "../backend";
import { Reconstruction } from "../components/Reconstruction";
import { Histogram } from "../components/Histogram";
import { ItemPicker } from "../components/ItemPicker";
import { shareBelow, describeRank } from "../components/statistics";
import {
  type RowLabels,
  labelColumns,
  labelOf,
  ownClass,
  labelText,
  title,
  conditionName,
  useRowLabels,
} from "../components/labels";
import { LatentChart } from "../components/LatentChart";
import { first, second } from "../components/itemPair";
import { SampleGrid } from "../components/SampleGrid";
import { backend, selectedRow, selectedClass, go, manifest, toSliders } from "../state";
import { SampleView, useQuery } from "../SampleView";
import { formatCount, formatNumber } from "../format";
import "./ItemView.css";

const N_NEIGHBOURS = 8;

export function ItemView() {
  const known = useRowLabels();
  const row = selectedRow.value;
  const own = ownClass(known, row);
  const item = useQuery(() => loadItem(row, own), [row, own]);
  const name = title(known, row);
  return (
    <>
      <div class="bar">
        <ItemPicker row={row} pick={(r) => (selectedRow.value = r)} name="item" known={known} />
        {item && <Actions row={row} mean={item.mean} own={own} />}
      </div>
      <div class="item-view">
        <section class="card wide">
          <Reconstruction x={item?.x ?? null} reconstruction={item?.reconstruction ?? null} name={name} />
          {item && manifest.value.model.classes && <OtherClass mean={item.mean} own={own} />}
        </section>
        <section class="card">
          <h3>Code: q(z|x) for each latent</h3>
          <LatentChart q={item} />
          <LatentCaption />
        </section>
        <div class="stack">
          <AnomalyScore row={row} />
          <Metadata row={row} known={known} />
        </div>
        <section class="card wide">
          <h3>Nearest neighbours in latent space</h3>
          {item && <Neighbours row={item.row} mean={item.mean} known={known} />}
          <p class="soft">
            Neighbours should resemble the item. Click one to open it.
          </p>
        </section>
      </div>
    </>
  );
}

interface Reconstructed {
  row: number;
  x: Float64Array;
  mean: Float32Array;
  std: Float32Array;
  reconstruction: Float64Array;
}

async function loadItem(row: number, own: Condition): Promise<Reconstructed> {
  const [x, q] = await Promise.all([backend.value.items([row]), backend.value.codes([row])]);
  return { row, x, ...q, reconstruction: await backend.value.decode(q.mean, 1, own) };
}

function Actions({ row, mean, own }: { row: number; mean: Float32Array; own: Condition }) {
  const interpolate = (end: typeof first) => {
    end.value = row;
    go("interpolate");
  };
  return (
    <div class="actions">
      <button onClick={() => toSliders(mean, own)}>Send to sliders</button>
      <button onClick={() => interpolate(first)}>Interpolate from here</button>
      <button onClick={() => interpolate(second)}>Interpolate to here</button>
      <button onClick={() => go("impute")}>Impute</button>
    </div>
  );
}

/** The same code decoded with the class chosen in the header. */
function OtherClass({ mean, own }: { mean: Float32Array; own: Condition }) {
  const condition = selectedClass.value;
  const x = useQuery(() => backend.value.decode(mean, 1, condition), [mean, condition]);
  if (condition === null || condition === own)
    return (
      <p class="soft own-class">
        Decoded with the item's own class, {conditionName(own)}. Choose another class in the header to decode the
        same code with it.
      </p>
    );
  return (
    <figure class="other-class">
      <SampleView x={x} label={`The same code decoded as ${conditionName(condition)}`} small />
      <figcaption>
        The same code decoded as {conditionName(condition)}, the class chosen in the header. What stays the same is
        encoded in z.
      </figcaption>
    </figure>
  );
}

function LatentCaption() {
  const { model, prior } = manifest.value;
  if (!model.has_std)
    return (
      <p class="soft">
        The marker shows the code of this item, grey the codes of all items. The most active latent comes first.
      </p>
    );
  return (
    <p class="soft">
      Marker and bar: mean and ±2 standard deviations of q(z|x). Grey: codes of all items.{" "}
      {prior?.kind === "standard" && "Shaded: ±2 standard deviations of the prior. "}A narrow bar means that
      the latent carries information; a bar as wide as the prior means that it does not.
    </p>
  );
}

function Neighbours({ row, mean, known }: { row: number; mean: Float32Array; known: RowLabels | null }) {
  const neighbours = useQuery(async () => {
    const found = await backend.value.neighbours(mean, N_NEIGHBOURS + 1); // the nearest is the item itself
    const kept = [...found.rows.keys()].filter((i) => found.rows[i] !== row).slice(0, N_NEIGHBOURS);
    const rows = kept.map((i) => found.rows[i]);
    const distances = kept.map((i) => found.distances[i]);
    return { rows, distances, x: await backend.value.items(rows) };
  }, [row, mean]);
  if (!neighbours) return null;
  const { rows, distances, x } = neighbours;
  return (
    <SampleGrid
      values={x}
      n={rows.length}
      caption={(i) =>
        [labelOf(known, rows[i]), `distance ${formatNumber(distances[i], 2)}`].filter(Boolean).join(" · ")
      }
      action={(i) => `Open ${title(known, rows[i])}`}
      pick={(i) => (selectedRow.value = rows[i])}
    />
  );
}

function AnomalyScore({ row }: { row: number }) {
  const { scores } = manifest.value;
  const [index, setIndex] = useState(0);
  const score = scores[index];
  const values = useQuery(async () => score && backend.value.array(score.array), [score]);
  if (!score || !values) return null;
  const value = values[row];
  const share = shareBelow(values, value);
  return (
    <section class="card">
      <h3>Anomaly score</h3>
      {scores.length > 1 && (
        <div class="bar">
          <label>
            Score{" "}
            <select value={index} onChange={(e) => setIndex(Number(e.currentTarget.value))}>
              {scores.map((each, k) => (
                <option key={k} value={k}>
                  {each.name}
                </option>
              ))}
            </select>
          </label>
        </div>
      )}
      <Histogram
        values={values}
        at={value}
        label={`${score.name} of all items, this one at ${formatNumber(value)}`}
      />
      {!Number.isNaN(value) && (
        <p>
          <b>{describeRank(share)}</b>
        </p>
      )}
      <p class="soft">
        {score.name}: {`${formatNumber(value)} ${score.unit}`.trim()}. Higher scores are more anomalous.
      </p>
    </section>
  );
}

function Metadata({ row, known }: { row: number; known: RowLabels | null }) {
  const { rows, arrays } = manifest.value;
  const rowNumbers = useQuery(async () => (arrays.row ? backend.value.array("row") : null), []);
  const facts: [string, ComponentChildren][] = labelColumns(manifest.value).map((c) => {
    const values = known?.get(c);
    return [c.name, values ? labelText(c, values[row]) : "…"];
  });
  if (rowNumbers && rows!.n < rows!.total) facts.push(["row in the data", formatCount(rowNumbers[row])]);
  if (!facts.length) return null;
  return (
    <section class="card">
      <h3>Metadata</h3>
      <table class="numbers">
        <tbody>
          {facts.map(([name, value]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
