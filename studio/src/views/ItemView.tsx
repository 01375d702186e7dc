/** One item: what the model makes of it, where it lies, what is like it, how strange it is. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Condition } from "../backend";
import { Difference } from "../parts/Difference";
import { Histogram } from "../parts/Histogram";
import { ItemPicker } from "../parts/ItemPicker";
import { shareBelow, strangeness } from "../parts/counts";
import {
  type Known,
  labelColumns,
  labelOf,
  ownClass,
  said,
  title,
  toldName,
  useKnown,
} from "../parts/labels";
import { LatentChart } from "../parts/LatentChart";
import { first, second } from "../parts/pair";
import { Sheet } from "../parts/Sheet";
import { backend, chosen, condition, go, manifest, toSliders } from "../state";
import { Thing, useAnswer } from "../Thing";
import { count, number } from "../words";
import "./ItemView.css";

const NEAR = 8;

export function ItemView() {
  const known = useKnown();
  const row = chosen.value;
  const own = ownClass(known, row);
  const seen = useAnswer(() => look(row, own), [row, own]);
  const name = title(known, row);
  return (
    <>
      <div class="bar">
        <ItemPicker row={row} pick={(r) => (chosen.value = r)} name="the item" known={known} />
        {seen && <Actions row={row} mean={seen.mean} own={own} />}
      </div>
      <div class="item-view">
        <section class="card wide">
          <Difference x={seen?.x ?? null} again={seen?.again ?? null} name={name} />
          {seen && manifest.value.model.classes && <Otherwise mean={seen.mean} own={own} />}
        </section>
        <section class="card">
          <h3>What the model knows of it</h3>
          <LatentChart q={seen} />
          <LatentCaption />
        </section>
        <div class="stack">
          <Strange row={row} />
          <Facts row={row} known={known} />
        </div>
        <section class="card wide">
          <h3>Nearest to it, by their codes</h3>
          {seen && <Near row={seen.row} mean={seen.mean} known={known} />}
          <p class="soft">
            Good neighbours are alike in what matters to you. Click one to go there.
          </p>
        </section>
      </div>
    </>
  );
}

interface Seen {
  row: number;
  x: Float64Array;
  mean: Float32Array;
  std: Float32Array;
  again: Float64Array;
}

async function look(row: number, own: Condition): Promise<Seen> {
  const [x, q] = await Promise.all([backend.value.items([row]), backend.value.codes([row])]);
  return { row, x, ...q, again: await backend.value.decode(q.mean, 1, own) };
}

function Actions({ row, mean, own }: { row: number; mean: Float32Array; own: Condition }) {
  const between = (end: typeof first) => {
    end.value = row;
    go("between");
  };
  return (
    <div class="actions">
      <button onClick={() => toSliders(mean, own)}>Send to sliders</button>
      <button onClick={() => between(first)}>Path from it</button>
      <button onClick={() => between(second)}>Path to it</button>
      <button onClick={() => go("repair")}>Repair it</button>
    </div>
  );
}

/** The same code decoded as the header's class, where that is another one. */
function Otherwise({ mean, own }: { mean: Float32Array; own: Condition }) {
  const told = condition.value;
  const x = useAnswer(() => backend.value.decode(mean, 1, told), [mean, told]);
  if (told === null || told === own)
    return (
      <p class="soft told-own">
        The decoder is told the item's own class, {toldName(own)}. Choose another in the header to see the
        same code as that.
      </p>
    );
  return (
    <figure class="otherwise">
      <Thing x={x} label={`The same code, told ${toldName(told)}`} small />
      <figcaption>
        The same code, told that the class is {toldName(told)} (as the header says): what stays is
        what the code keeps, style without class.
      </figcaption>
    </figure>
  );
}

function LatentCaption() {
  const { model, prior } = manifest.value;
  if (!model.spread)
    return (
      <p class="soft">
        The mark is this item's code; grey shows where all items lie. Most active latent first.
      </p>
    );
  return (
    <p class="soft">
      Mark and bar: the mean and ±2 standard deviations of what this item tells of each latent. Grey: all
      items. {prior?.kind === "standard" && "Shaded: the prior's ±2. "}A narrow bar means the latent is
      used; a bar as wide as the prior says nothing of the item.
    </p>
  );
}

function Near({ row, mean, known }: { row: number; mean: Float32Array; known: Known | null }) {
  const near = useAnswer(async () => {
    const found = await backend.value.neighbours(mean, NEAR + 1); // one is the item itself
    const kept = [...found.rows.keys()].filter((i) => found.rows[i] !== row).slice(0, NEAR);
    const rows = kept.map((i) => found.rows[i]);
    const distances = kept.map((i) => found.distances[i]);
    return { rows, distances, x: await backend.value.items(rows) };
  }, [row, mean]);
  if (!near) return null;
  const { rows, distances, x } = near;
  return (
    <Sheet
      values={x}
      n={rows.length}
      caption={(i) =>
        [labelOf(known, rows[i]), `${number(distances[i], 2)} away`].filter(Boolean).join(" · ")
      }
      action={(i) => `Go to ${title(known, rows[i])}`}
      pick={(i) => (chosen.value = rows[i])}
    />
  );
}

function Strange({ row }: { row: number }) {
  const { scores } = manifest.value;
  const [which, setWhich] = useState(0);
  const score = scores[which];
  const values = useAnswer(async () => score && backend.value.array(score.array), [score]);
  if (!score || !values) return null;
  const value = values[row];
  const share = shareBelow(values, value);
  return (
    <section class="card">
      <h3>How strange it is</h3>
      {scores.length > 1 && (
        <div class="bar">
          <label>
            Score{" "}
            <select value={which} onChange={(e) => setWhich(Number(e.currentTarget.value))}>
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
        label={`${score.name} of all items, this one at ${number(value)}`}
      />
      {!Number.isNaN(value) && (
        <p>
          <b>{strangeness(share)}</b>
        </p>
      )}
      <p class="soft">
        Its {score.name} is {`${number(value)} ${score.unit}`.trim()}; further right is stranger to the model.
      </p>
    </section>
  );
}

function Facts({ row, known }: { row: number; known: Known | null }) {
  const { rows, arrays } = manifest.value;
  const places = useAnswer(async () => (arrays.row ? backend.value.array("row") : null), []);
  const facts: [string, ComponentChildren][] = labelColumns(manifest.value).map((c) => {
    const values = known?.get(c);
    return [c.name, values ? said(c, values[row]) : "…"];
  });
  if (places && rows!.n < rows!.of) facts.push(["row in the data", count(places[row])]);
  if (!facts.length) return null;
  return (
    <section class="card">
      <h3>What is written of it</h3>
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
