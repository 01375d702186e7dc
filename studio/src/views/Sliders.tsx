/** One slider per latent, the most active first, with the decoded result. */

import { signal } from "@preact/signals";
import { useMemo, useState } from "preact/hooks";
import type { Condition } from "../backend";
import { ItemPicker } from "../components/ItemPicker";
import { type RowLabels, ownClass, useRowLabels } from "../components/labels";
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
} from "../components/latents";
import { SignalOverlay } from "../components/SignalOverlay";
import { drawCodes, newSeed } from "../components/prior";
import { type Attribute, attempt, attributes, backend, selectedRow, code, selectedClass, manifest } from "../state";
import { SampleView, useQuery } from "../SampleView";
import "../components/components.css";
import "./Sliders.css";

type From = "centre" | "mean" | "item" | "draw" | "sent";

/** The starting point, for comparison and reset. */
interface Start {
  from: From;
  code: Float32Array;
  condition: Condition;
}

const start = signal<Start | null>(null);
/** How far the code was moved along each attribute vector. */
const strengths = signal<ReadonlyMap<Attribute, number>>(new Map());
/** The last code set here; any other code was sent from another view. */
let last: Float32Array | null = null;

function begin(from: From, z: Float32Array, condition: Condition = selectedClass.value): void {
  last = z;
  start.value = { from, code: z, condition };
  strengths.value = new Map();
  code.value = z;
  selectedClass.value = condition;
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

/** Adopt a code that another view sent. */
function adoptCode(): void {
  const z = code.value ?? mean();
  if (z === last && start.value) return;
  const is = (other: Float32Array) => z.every((v, j) => v === other[j]);
  const standard = manifest.value.prior?.kind === "standard";
  begin(standard && is(centre()) ? "centre" : is(mean()) ? "mean" : "sent", z);
}

export function Sliders() {
  useState(adoptCode); // once, before the first render
  const known = useRowLabels();
  return (
    <>
      <StartControls known={known} />
      <div class="sliders-view">
        <Decoded />
        <section class="card">
          <SliderList />
        </section>
      </div>
    </>
  );
}

function StartControls({ known }: { known: RowLabels | null }) {
  const { prior, rows, latents } = manifest.value;
  const from = start.value!.from;
  const random = prior || rows; // otherwise there is nothing to sample
  const startFromItem = async (row: number) => {
    selectedRow.value = row;
    const q = await attempt(backend.value.codes([row]));
    const superseded = selectedRow.value !== row; // another item was chosen in the meantime
    if (q && !superseded) begin("item", q.mean, ownClass(known, row));
  };
  const choose = (to: From) => {
    if (to === "centre") begin(to, centre());
    if (to === "mean") begin(to, mean());
    if (to === "item") void startFromItem(selectedRow.value);
    if (to === "draw") void randomize();
  };
  return (
    <div class="bar">
      <label>
        Start from
        <select value={from} onChange={(e) => choose(e.currentTarget.value as From)}>
          {prior?.kind === "standard" && <option value="centre">the centre of the prior</option>}
          <option value="mean">{latents.mean.some(Boolean) ? "the mean of all codes" : "zero"}</option>
          {rows && <option value="item">an item</option>}
          {random && <option value="draw">a random sample</option>}
          {from === "sent" && <option value="sent">the code sent here</option>}
        </select>
      </label>
      {from === "item" && (
        <ItemPicker row={selectedRow.value} pick={(r) => void startFromItem(r)} name="starting item" known={known} />
      )}
      <button onClick={() => begin(from, start.value!.code, start.value!.condition)}>Reset</button>
      {random && <button onClick={() => void randomize()}>Randomize</button>}
    </div>
  );
}

async function randomize(): Promise<void> {
  const z = await attempt(randomCode());
  if (z) begin("draw", z);
}

/** A sample of the prior; without a prior, the code of a random row. */
async function randomCode(): Promise<Float32Array> {
  const { prior, rows } = manifest.value;
  if (prior) return drawCodes(1, 1, newSeed(), selectedClass.value);
  return (await backend.value.codes([Math.floor(rows!.n * Math.random())])).mean;
}

function Decoded() {
  const { item } = manifest.value;
  const [z, condition] = [code.value!, selectedClass.value];
  const initial = start.value!;
  const result = useQuery(() => backend.value.decode(z, 1, condition), [z, condition]);
  const initialResult = useQuery(() => backend.value.decode(initial.code, 1, initial.condition), [initial]);
  if (item.kind === "signal")
    return (
      <section class="card shown">
        <SignalOverlay behind={initialResult} x={result} label="Decoded from the sliders, with the starting point" />
        <p class="soft">Grey: starting point. Colour: current sliders.</p>
      </section>
    );
  if (item.kind !== "image")
    return (
      <section class="card shown">
        <SampleView x={result} beside={initialResult} besideName="start" label="Decoded from the sliders, compared with the starting point" />
      </section>
    );
  return (
    <section class="card shown images">
      <figure>
        <SampleView x={result} label="Decoded from the sliders" />
        <figcaption>Now</figcaption>
      </figure>
      <figure>
        <SampleView x={initialResult} label="The starting point" />
        <figcaption>Start</figcaption>
      </figure>
    </section>
  );
}

function SliderList() {
  const { latents, prior, rows } = manifest.value;
  const [filter, setFilter] = useState("");
  const ranges = useMemo(axes, []);
  const shapes = useShapes(ranges);
  const standard = prior?.kind === "standard";
  const order = latents.order;
  return (
    <>
      <p class="soft">
        {rows && "The most active latent comes first; the small bar shows its activity. "}
        {shapes && "Grey shows the distribution of codes; the model extrapolates outside it. "}
        {!shapes && standard && "Grey shows the prior; the model extrapolates outside it. "}
        Double-click a slider or press Delete to reset it.
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
            {filter ? "" : `Showing the ${FEW} most active of ${order.length}. Enter numbers to see others.`}
          </span>
        </div>
      )}
      {attributes.value.length > 0 && (
        <p class="soft">
          Your attribute vectors come first: 1 adds the difference between the selected items and all others.
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
  /** Activity relative to the most active latent; null if unknown, undefined for attributes. */
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
          <i class="activity" title={`${Math.round(100 * share)}% of the activity of the most active latent`}>
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
          <i class="initial" style={{ left: inPercent(place(start)) }} />
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
