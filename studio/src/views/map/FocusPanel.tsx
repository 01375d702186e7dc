/** Details of the focused item or position: image, code and actions. */

import { useEffect, useState } from "preact/hooks";
import { SampleView, useQuery } from "../../SampleView";
import { rangeOf } from "../../latent";
import type { Column } from "../../manifest";
import { backend, colouredBy, manifest, showItem, toSliders } from "../../state";
import { formatNumber } from "../../format";
import { trust, describeTrust, SPARSE, type MapData } from "./mapData";
import type { Focus, Focused } from "./focus";

/** Maximum number of latents listed. */
const LISTED = 12;

export function FocusPanel({ mapData, focused }: { mapData: MapData; focused: Focused | null }) {
  if (!focused) return <section class="card" aria-label="Focus"><p class="soft">…</p></section>;
  const { focus, code } = focused;
  return (
    <section class="card focused" aria-label="Focus">
      <h3>{"row" in focus ? `Item ${focus.row}` : "Decoded position"}</h3>
      <SampleView x={focused.x} label={label(focus)} />
      {"row" in focus ? <Facts row={focus.row} /> : <Trust mapData={mapData} x={focus.x} y={focus.y} />}
      <div class="bar">
        {"row" in focus && <button class="main" onClick={() => showItem(focus.row)}>Open item</button>}
        <button class={"row" in focus ? "" : "main"} onClick={() => toSliders(code)}>Send to sliders</button>
      </div>
      <Latents code={code} />
      <Announcement mapData={mapData} focus={focus} />
    </section>
  );
}

/** The tooltip at the pointer. */
export function Tooltip({ mapData, focused }: { mapData: MapData; focused: Focused }) {
  const { focus } = focused;
  const { kind } = manifest.value.item;
  return (
    <>
      {(kind === "image" || kind === "signal") && <SampleView x={focused.x} label={label(focus)} small />}
      {"row" in focus ? <span>item {focus.row}</span> : <span>{describeTrust(mapData, focus.x, focus.y)}</span>}
    </>
  );
}

function label(focus: Focus): string {
  return "row" in focus ? `item ${focus.row}` : "decoded position";
}

function Trust({ mapData, x, y }: { mapData: MapData; x: number; y: number }) {
  const share = trust(mapData, x, y);
  const doubtful = share !== null && share < SPARSE;
  const words = describeTrust(mapData, x, y);
  return <p class={doubtful ? "note" : "soft"}>{`${words[0].toUpperCase()}${words.slice(1)}.`}</p>;
}

/** Labels and scores of an item, and the column that colours the map. */
function Facts({ row }: { row: number }) {
  const colour = colouredBy.value;
  const known = useQuery(() => {
    const condition = manifest.value.columns.filter((c) => c.feature === null || c.array === colour);
    return Promise.all(condition.map(async (c) => ({ c, values: await backend.value.array(c.array) })));
  }, [colour]);
  if (!known?.length) return null;
  return (
    <table class="numbers">
      <caption class="unseen">Values of item {row}</caption>
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
  return unit ? `${formatNumber(v)} ${unit}` : formatNumber(v);
}

/** The code, most active latents first, as numbers and positions in their ranges. */
function Latents({ code }: { code: Float32Array }) {
  const { latents } = manifest.value;
  const shown = latents.order.slice(0, LISTED);
  const more = code.length - shown.length;
  return (
    <>
      <table class="numbers latents">
        <caption>Latents{more > 0 ? `, the ${LISTED} most active` : ""}</caption>
        <tbody>
          {shown.map((j) => {
            const [low, high] = rangeOf(latents, j);
            const share = Math.min(1, Math.max(0, (code[j] - low) / (high - low)));
            return (
              <tr key={j}>
                <th scope="row">z{j + 1}</th>
                <td class="track"><span style={{ left: `${100 * share}%` }} /></td>
                <td>{formatNumber(code[j])}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {more > 0 && <p class="soft">and {more} more</p>}
    </>
  );
}

/** Announce the focus to screen readers once the pointer rests. */
function Announcement({ mapData, focus }: { mapData: MapData; focus: Focus }) {
  const [announced, announce] = useState("");
  const words = "row" in focus ? `Item ${focus.row}` : describeTrust(mapData, focus.x, focus.y);
  useEffect(() => {
    const timer = window.setTimeout(() => announce(words), 500);
    return () => window.clearTimeout(timer);
  }, [words]);
  return <p class="unseen" role="status">{announced}</p>;
}
