/** Hide a part of an item; the model fills it in. */

import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import {
  hiddenCount,
  hiddenError,
  nothing,
  preset,
  stroke,
  type Grid,
  type Mask,
  type Place,
  type Preset,
} from "../brush";
import { useCompletion, type Filled } from "../completion";
import { pictureSize } from "../draw";
import { Heat } from "../Heat";
import type { Item } from "../manifest";
import { extent } from "../parts/counts";
import { ItemPicker } from "../parts/ItemPicker";
import { useKnown } from "../parts/labels";
import { Overlay } from "../parts/Overlay";
import { backend, chosen, manifest } from "../state";
import { Thing, useItem } from "../Thing";
import { count, number, percent } from "../words";
import { Columns } from "./Columns";
import { Painter } from "./Painter";
import "./Repair.css";

/** What is hidden; kept while other views are shown. Null until this view was opened. */
const hidden = signal<Mask | null>(null);
const past = signal<Mask[]>([]);
const diameter = signal(0);
const erasing = signal(false);
const MOST_UNDONE = 100;

const PRESETS: Record<"picture" | "signal" | "table", [Preset, string][]> = {
  picture: [
    ["left", "Left half"],
    ["right", "Right half"],
    ["top", "Top half"],
    ["bottom", "Bottom half"],
    ["centre", "Centre"],
    ["random", "Random 50%"],
  ],
  signal: [
    ["left", "First half"],
    ["right", "Second half"],
    ["centre", "Middle"],
    ["random", "Random 50%"],
  ],
  table: [["random", "Random 50%"]],
};

export function Repair() {
  const { item } = manifest.value;
  const grid = gridOf(item);
  const known = useKnown();
  const x = useItem(chosen.value);
  if (!hidden.peek()) hidden.value = atFirst(item, grid);
  const mask = hidden.value!;
  const filled = useCompletion(x, mask);
  const painted = item.kind === "picture" || item.kind === "signal";
  return (
    <div class="repair-page">
      <div class="bar">
        <ItemPicker row={chosen.value} pick={(row) => (chosen.value = row)} name="the item" known={known} />
        {painted && <Brush grid={grid} />}
      </div>
      <div class="bar">
        <Presets item={item} grid={grid} />
        <button onClick={undo} disabled={!past.value.length}>
          Undo
        </button>
        <button onClick={() => change(nothing(grid))} disabled={!mask.includes(1)}>
          Show all
        </button>
      </div>
      {painted ? (
        <Pictures x={x} mask={mask} grid={grid} filled={filled} />
      ) : (
        <Columns x={x} mask={mask} filled={filled} onToggle={(j) => change(toggled(mask, j))} />
      )}
      {!backend.value.live && (
        <p class="soft">
          This page shows one completion; several draws and their uncertainty need{" "}
          <code>isthmus studio</code>.
        </p>
      )}
    </div>
  );
}

function gridOf(item: Item): Grid {
  if (item.kind !== "picture") return { width: item.shape[item.shape.length - 1], height: 1 };
  const { width, height } = pictureSize(item);
  return { width, height };
}

/** Something is hidden from the start, so that one sees at once what this is about. */
function atFirst({ kind }: Item, grid: Grid): Mask {
  if (kind === "picture") return preset("bottom", grid, Math.random);
  return kind === "signal" ? preset("centre", grid, Math.random) : toggled(nothing(grid), 0);
}

function toggled(mask: Mask, j: number): Mask {
  return mask.map((v, i) => (i === j ? 1 - v : v));
}

/** Hide something else; what was hidden before comes back by "Undo". */
function change(mask: Mask): void {
  remember();
  hidden.value = mask;
}

function remember(): void {
  past.value = [...past.value.slice(-MOST_UNDONE), hidden.value!];
}

function undo(): void {
  const before = past.value[past.value.length - 1];
  if (!before) return;
  hidden.value = before;
  past.value = past.value.slice(0, -1);
}

/** The brush's diameter: a seventh of the item until it is set. */
function brushWidth(grid: Grid): number {
  return diameter.value || Math.max(2, Math.round(grid.width / (grid.height === 1 ? 50 : 7)));
}

function Brush({ grid }: { grid: Grid }) {
  return (
    <>
      <label class="brush-size">
        <span>Brush</span>
        <input
          type="range"
          min={1}
          max={Math.max(2, Math.round(grid.width / 2))}
          value={brushWidth(grid)}
          aria-valuetext={`${brushWidth(grid)} ${grid.height === 1 ? "samples" : "pixels"} wide`}
          onInput={(e) => (diameter.value = e.currentTarget.valueAsNumber)}
        />
      </label>
      <button aria-pressed={erasing.value} onClick={() => (erasing.value = !erasing.value)}>
        Erase
      </button>
    </>
  );
}

function Presets({ item, grid }: { item: Item; grid: Grid }) {
  const presets = PRESETS[item.kind === "vector" ? "table" : item.kind];
  return (
    <div class="hide-presets" role="group" aria-label="Hide a part">
      <span class="soft">Hide</span>
      {presets.map(([name, text]) => (
        <button key={name} onClick={() => change(preset(name, grid, Math.random))}>
          {text}
        </button>
      ))}
    </div>
  );
}

interface Shown {
  x: Float64Array | null;
  mask: Mask;
  grid: Grid;
  filled: Filled | null;
}

function Pictures({ x, mask, grid, filled }: Shown) {
  const line = grid.height === 1;
  const paintOver = (from: Place, to: Place, erase: boolean) => {
    const value = erase || erasing.value ? 0 : 1;
    hidden.value = stroke(hidden.value!, grid, from, to, brushWidth(grid) / 2, value);
  };
  return (
    <>
      <div class={line ? "repair signal" : "repair"}>
        <figure>
          <Painter
            x={x}
            mask={mask}
            grid={grid}
            radius={brushWidth(grid) / 2}
            onStart={remember}
            onStroke={paintOver}
            onUndo={undo}
          />
          <figcaption>
            <b>Damaged.</b> {erasing.value ? "Drag to bring parts back." : "Drag over it to hide more."}
          </figcaption>
        </figure>
        {line ? <CompletedWave filled={filled} /> : <Completed filled={filled} />}
        {filled?.std && <Uncertainty std={filled.std} hidden={filled.hidden} />}
        {!line && <Original x={x} />}
      </div>
      <Summary filled={filled} pixels={mask} unit={line ? "sample" : "pixel"} />
    </>
  );
}

function Completed({ filled }: { filled: Filled | null }) {
  return (
    <figure>
      <Thing x={filled && filled.made} label="completed by the model" />
      <figcaption>
        <b>Completed</b> by the model, from what is left.
      </figcaption>
    </figure>
  );
}

/** The truth behind the completion: along a line both can be seen at once. */
function CompletedWave({ filled }: { filled: Filled | null }) {
  return (
    <figure>
      <Overlay behind={filled && filled.x} x={filled && filled.made} label="original and completed" />
      <figcaption>
        <b>Completed</b> by the model in colour; the original, which it does not see, in grey. Good is one
        line.
      </figcaption>
    </figure>
  );
}

function Original({ x }: { x: Float64Array | null }) {
  return (
    <figure>
      <Thing x={x} label={`original, item ${chosen.value}`} />
      <figcaption>
        <b>Original.</b> The model does not see it.
      </figcaption>
    </figure>
  );
}

function Uncertainty({ std, hidden }: { std: Float64Array; hidden: Mask }) {
  const shown = useMemo(() => std.map((v, i) => (hidden[i] ? v : 0)), [std, hidden]);
  const top = extent(shown)[1] || 1;
  return (
    <figure>
      <Heat values={shown} top={top} label="standard deviation of the completions" />
      <figcaption>
        <b>Uncertainty.</b> How far possible completions differ: black not at all, brightest by{" "}
        {number(top)}.
      </figcaption>
    </figure>
  );
}

function Summary({ filled, pixels, unit }: { filled: Filled | null; pixels: Mask; unit: string }) {
  const n = hiddenCount(pixels);
  if (!n)
    return <p class="repair-words">Nothing is hidden: drag over the damaged item, or choose a part above.</p>;
  return (
    <p class="repair-words">
      {count(n)} of {count(pixels.length)} {unit}s hidden ({percent(n / pixels.length)}).{" "}
      {filled?.hidden.includes(1) ? <HowFar filled={filled} unit={unit} /> : "The model is filling it in …"}
    </p>
  );
}

function HowFar({ filled, unit }: { filled: Filled; unit: string }) {
  const { blank } = manifest.value.item;
  const empty = filled.x.map((_, i) => blank[i % blank.length]);
  const error = (x: Float64Array) => hiddenError(x, filled.x, filled.hidden);
  return (
    <>
      Mean squared error of a hidden {unit}: <b>{number(error(filled.made))}</b>; left blank it would be{" "}
      {number(error(empty))}.
    </>
  );
}
