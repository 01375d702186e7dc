/** One slider a latent, the most active first: move it, and watch what the decoder makes of it. */

import { signal } from "@preact/signals";
import { useMemo, useState } from "preact/hooks";
import type { Condition } from "../backend";
import { ItemPicker } from "../parts/ItemPicker";
import { type Known, ownClass, useKnown } from "../parts/labels";
import {
  activityShare,
  axes,
  FEW,
  nameOf,
  normalShape,
  readout,
  SHAPE_WIDTH,
  shownLatents,
  useShapes,
} from "../parts/latents";
import { Overlay } from "../parts/Overlay";
import { drawCodes, newSeed } from "../parts/prior";
import { type Attribute, attempt, attributes, backend, chosen, code, condition, manifest } from "../state";
import { Thing, useAnswer } from "../Thing";
import "../parts/parts.css";
import "./Sliders.css";

type From = "centre" | "mean" | "item" | "draw" | "sent";

/** Where the sliders began, to compare with and to come back to. */
interface Start {
  from: From;
  code: Float32Array;
  told: Condition;
}

const start = signal<Start | null>(null);
/** How far along each attribute the code was moved. */
const strengths = signal<ReadonlyMap<Attribute, number>>(new Map());
/** The code these sliders saw last: another one was sent from elsewhere. */
let last: Float32Array | null = null;

function begin(from: From, z: Float32Array, told: Condition = condition.value): void {
  last = z;
  start.value = { from, code: z, told };
  strengths.value = new Map();
  code.value = z;
  condition.value = told;
}

function move(z: Float32Array): void {
  last = z;
  code.value = z;
}

function setLatent(j: number, value: number): void {
  move(code.value!.map((v, k) => (k === j ? value : v)));
}

function setStrength(attribute: Attribute, value: number): void {
  const by = value - (strengths.value.get(attribute) ?? 0);
  strengths.value = new Map(strengths.value).set(attribute, value);
  move(code.value!.map((v, j) => v + by * attribute.vector[j]));
}

function centre(): Float32Array {
  return new Float32Array(manifest.value.model.n_components);
}

function mean(): Float32Array {
  return Float32Array.from(manifest.value.latents.mean);
}

/** Take over what another view put on the sliders. */
function arrive(): void {
  const z = code.value ?? mean();
  if (z === last && start.value) return;
  const is = (other: Float32Array) => z.every((v, j) => v === other[j]);
  const standard = manifest.value.prior?.kind === "standard";
  begin(standard && is(centre()) ? "centre" : is(mean()) ? "mean" : "sent", z);
}

export function Sliders() {
  useState(arrive); // once, before anything is drawn
  const known = useKnown();
  return (
    <>
      <Beginnings known={known} />
      <div class="sliders-view">
        <Shown />
        <section class="card">
          <Rows />
        </section>
      </div>
    </>
  );
}

function Beginnings({ known }: { known: Known | null }) {
  const { prior, rows, latents } = manifest.value;
  const from = start.value!.from;
  const random = prior || rows; // else there is nothing to draw from
  const fromItem = async (row: number) => {
    chosen.value = row;
    const q = await attempt(backend.value.codes([row]));
    const overtaken = chosen.value !== row; // by another item, whose code came sooner
    if (q && !overtaken) begin("item", q.mean, ownClass(known, row));
  };
  const choose = (to: From) => {
    if (to === "centre") begin(to, centre());
    if (to === "mean") begin(to, mean());
    if (to === "item") void fromItem(chosen.value);
    if (to === "draw") void randomise();
  };
  return (
    <div class="bar">
      <label>
        Start from
        <select value={from} onChange={(e) => choose(e.currentTarget.value as From)}>
          {prior?.kind === "standard" && <option value="centre">the prior's centre</option>}
          <option value="mean">{latents.mean.some(Boolean) ? "the mean of all codes" : "zero"}</option>
          {rows && <option value="item">an item</option>}
          {random && <option value="draw">a random draw</option>}
          {from === "sent" && <option value="sent">what was sent here</option>}
        </select>
      </label>
      {from === "item" && (
        <ItemPicker row={chosen.value} pick={(r) => void fromItem(r)} name="the start" known={known} />
      )}
      <button onClick={() => begin(from, start.value!.code, start.value!.told)}>Reset</button>
      {random && <button onClick={() => void randomise()}>Randomise</button>}
    </div>
  );
}

async function randomise(): Promise<void> {
  const z = await attempt(anyCode());
  if (z) begin("draw", z);
}

/** A draw from the prior; without one the code of some row. */
async function anyCode(): Promise<Float32Array> {
  const { prior, rows } = manifest.value;
  if (prior) return drawCodes(1, 1, newSeed(), condition.value);
  return (await backend.value.codes([Math.floor(rows!.n * Math.random())])).mean;
}

function Shown() {
  const { item } = manifest.value;
  const [z, told] = [code.value!, condition.value];
  const begun = start.value!;
  const now = useAnswer(() => backend.value.decode(z, 1, told), [z, told]);
  const then = useAnswer(() => backend.value.decode(begun.code, 1, begun.told), [begun]);
  if (item.kind === "signal")
    return (
      <section class="card shown">
        <Overlay behind={then} x={now} label="Decoded from the sliders, over the starting point" />
        <p class="soft">The starting point in grey, the sliders in colour.</p>
      </section>
    );
  if (item.kind !== "picture")
    return (
      <section class="card shown">
        <Thing x={now} beside={then} besideName="start" label="Decoded from the sliders, beside the start" />
      </section>
    );
  return (
    <section class="card shown pictures">
      <figure>
        <Thing x={now} label="Decoded from the sliders" />
        <figcaption>Now</figcaption>
      </figure>
      <figure>
        <Thing x={then} label="The starting point" />
        <figcaption>Start</figcaption>
      </figure>
    </section>
  );
}

function Rows() {
  const { latents, prior, rows } = manifest.value;
  const [filter, setFilter] = useState("");
  const ranges = useMemo(axes, []);
  const shapes = useShapes(ranges);
  const standard = prior?.kind === "standard";
  const order = latents.order;
  return (
    <>
      <p class="soft">
        {rows && "The most active latent first; the small bar says how much each is used. "}
        {shapes && "Grey shows where codes lie: beyond it the model guesses. "}
        {!shapes && standard && "Grey shows where the prior's draws lie: beyond it the model guesses. "}
        Double click, or Delete, puts a slider back.
      </p>
      {order.length > FEW && (
        <div class="bar">
          <label>
            Latents
            <input
              type="text"
              placeholder="40-60, 7"
              value={filter}
              onInput={(e) => setFilter(e.currentTarget.value)}
            />
          </label>
          <span class="soft">
            {filter ? "" : `The ${FEW} most active of ${order.length}; name others to see them.`}
          </span>
        </div>
      )}
      {attributes.value.length > 0 && (
        <p class="soft">
          First your attributes: 1 is as far as the marked items lie from the rest, −1 the other way.
        </p>
      )}
      {attributes.value.map((attribute) => (
        <Slider
          key={attribute.name}
          name={attribute.name}
          value={strengths.value.get(attribute) ?? 0}
          start={0}
          range={[-2, 2]}
          shape={null}
          set={(v) => setStrength(attribute, v)}
        />
      ))}
      {shownLatents(order, filter, false).map((j) => (
        <Slider
          key={j}
          name={nameOf(j)}
          share={rows ? activityShare(j) : null}
          value={code.value![j]}
          start={start.value!.code[j]}
          range={ranges[j]}
          shape={shapes?.[j] ?? (standard ? normalShape(ranges[j]) : null)}
          set={(v) => setLatent(j, v)}
        />
      ))}
    </>
  );
}

interface SliderProps {
  name: string;
  /** Activity as a share of the most active latent's; null where unknown, none of attributes. */
  share?: number | null;
  value: number;
  start: number;
  range: [number, number];
  shape: string | null;
  set: (value: number) => void;
}

function Slider({ name, share, value, start, range, shape, set }: SliderProps) {
  const [low, high] = [Math.min(range[0], start), Math.max(range[1], start)];
  const place = (v: number) => (v - low) / (high - low || 1);
  const [left, right] = range.map(place);
  return (
    <label class={share === undefined ? "slider named" : "slider"}>
      <span class="slider-name">
        {name}
        {share != null && (
          <i class="activity" title={`${Math.round(100 * share)}% of the most active latent's activity`}>
            <i style={{ width: inPercent(share) }} />
          </i>
        )}
      </span>
      <span class="track">
        <span class="marks" aria-hidden="true">
          {shape && (
            <svg
              viewBox={`0 0 ${SHAPE_WIDTH} 1`}
              preserveAspectRatio="none"
              style={{ left: inPercent(left), width: inPercent(right - left) }}
            >
              <path d={shape} />
            </svg>
          )}
          <i class="begun" style={{ left: inPercent(place(start)) }} />
        </span>
        <input
          type="range"
          aria-label={name}
          min={low}
          max={high}
          step={(high - low) / 400}
          value={value}
          onInput={(e) => set(e.currentTarget.valueAsNumber)}
          onDblClick={() => set(start)}
          onKeyDown={(e) => (e.key === "Delete" || e.key === "Backspace") && set(start)}
        />
      </span>
      <output>{readout(value)}</output>
    </label>
  );
}

function inPercent(share: number): string {
  return `${100 * share}%`;
}
