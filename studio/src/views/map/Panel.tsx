/** What one looks at, large, with its latent numbers and where to go with it. */

import { useEffect, useState } from "preact/hooks";
import { Thing, useAnswer } from "../../Thing";
import { rangeOf } from "../../latent";
import type { Column } from "../../manifest";
import { backend, colouredBy, manifest, showItem, toSliders } from "../../state";
import { number } from "../../words";
import { trust, trustWords, COAST, type Ground } from "./ground";
import type { Look, Seen } from "./looking";

/** Latent numbers that are listed. */
const LISTED = 12;

export function Panel({ ground, seen }: { ground: Ground; seen: Seen | null }) {
  if (!seen) return <section class="card" aria-label="What is there"><p class="soft">…</p></section>;
  const { look, code } = seen;
  return (
    <section class="card seen" aria-label="What is there">
      <h3>{"row" in look ? `Item ${look.row}` : "Decoded land"}</h3>
      <Thing x={seen.x} label={label(look)} />
      {"row" in look ? <Facts row={look.row} /> : <Trust ground={ground} x={look.x} y={look.y} />}
      <div class="bar">
        {"row" in look && <button class="main" onClick={() => showItem(look.row)}>Open item</button>}
        <button class={"row" in look ? "" : "main"} onClick={() => toSliders(code)}>Send to sliders</button>
      </div>
      <Latents code={code} />
      <Spoken ground={ground} look={look} />
    </section>
  );
}

/** The words beside a small picture at the pointer. */
export function Tip({ ground, seen }: { ground: Ground; seen: Seen }) {
  const { look } = seen;
  const { kind } = manifest.value.item;
  return (
    <>
      {(kind === "picture" || kind === "signal") && <Thing x={seen.x} label={label(look)} small />}
      {"row" in look ? <span>item {look.row}</span> : <span>{trustWords(ground, look.x, look.y)}</span>}
    </>
  );
}

function label(look: Look): string {
  return "row" in look ? `item ${look.row}` : "what the decoder makes of this place";
}

function Trust({ ground, x, y }: { ground: Ground; x: number; y: number }) {
  const share = trust(ground, x, y);
  const doubtful = share !== null && share < COAST;
  const words = trustWords(ground, x, y);
  return <p class={doubtful ? "note" : "soft"}>{`${words[0].toUpperCase()}${words.slice(1)}.`}</p>;
}

/** The label and scores of an item, and what colours it. */
function Facts({ row }: { row: number }) {
  const colour = colouredBy.value;
  const known = useAnswer(() => {
    const told = manifest.value.columns.filter((c) => c.feature === null || c.array === colour);
    return Promise.all(told.map(async (c) => ({ c, values: await backend.value.array(c.array) })));
  }, [colour]);
  if (!known?.length) return null;
  return (
    <table class="numbers">
      <caption class="unseen">Known of item {row}</caption>
      <tbody>
        {known.map(({ c, values }) => (
          <tr key={c.array}>
            <th scope="row">{c.name}</th>
            <td>{value(c, values[row])}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function value(column: Column, v: number): string {
  if (column.categories) return column.categories[v] ?? "–";
  const unit = manifest.value.scores.find((s) => s.array === column.array)?.unit;
  return unit ? `${number(v)} ${unit}` : number(v);
}

/** The code, the most active latents first, each as a number and its place in its range. */
function Latents({ code }: { code: Float32Array }) {
  const { latents } = manifest.value;
  const shown = latents.order.slice(0, LISTED);
  const more = code.length - shown.length;
  return (
    <>
      <table class="numbers latents">
        <caption>Latent numbers{more > 0 ? `, the ${LISTED} most active` : ""}</caption>
        <tbody>
          {shown.map((j) => {
            const [low, high] = rangeOf(latents, j);
            const share = Math.min(1, Math.max(0, (code[j] - low) / (high - low)));
            return (
              <tr key={j}>
                <th scope="row">z{j + 1}</th>
                <td class="track"><span style={{ left: `${100 * share}%` }} /></td>
                <td>{number(code[j])}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {more > 0 && <p class="soft">and {more} more</p>}
    </>
  );
}

/** Says where one is when one rests there, for who does not see the map. */
function Spoken({ ground, look }: { ground: Ground; look: Look }) {
  const [said, say] = useState("");
  const words = "row" in look ? `Item ${look.row}` : trustWords(ground, look.x, look.y);
  useEffect(() => {
    const timer = window.setTimeout(() => say(words), 500);
    return () => window.clearTimeout(timer);
  }, [words]);
  return <p class="unseen" role="status">{said}</p>;
}
