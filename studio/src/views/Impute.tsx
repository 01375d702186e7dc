/** Hide part of an item and let the model impute it. */

import { signal } from "@preact/signals";
import { useMemo } from "preact/hooks";
import {
  hiddenCount,
  hiddenError,
  emptyMask,
  preset,
  stroke,
  type Grid,
  type Mask,
  type Point2D,
  type Preset,
} from "../mask";
import { useImputation, type Imputed } from "../imputation";
import { imageSize } from "../draw";
import { Heatmap } from "../Heatmap";
import type { Item } from "../manifest";
import { extent } from "../components/statistics";
import { ItemPicker } from "../components/ItemPicker";
import { useRowLabels } from "../components/labels";
import { SignalOverlay } from "../components/SignalOverlay";
import { backend, selectedRow, manifest } from "../state";
import { SampleView, useItem } from "../SampleView";
import { formatCount, formatNumber, formatPercent } from "../format";
import { ImputeTable } from "./ImputeTable";
import { MaskPainter } from "./MaskPainter";
import "./Impute.css";

/** The mask, kept while other views are open; null until this view is first opened. */
const hidden = signal<Mask | null>(null);
const history = signal<Mask[]>([]);
const diameter = signal(0);
const erasing = signal(false);
const MOST_UNDONE = 100;

const PRESETS: Record<"image" | "signal" | "table", [Preset, string][]> = {
  image: [
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

export function Impute() {
  const { item } = manifest.value;
  const grid = gridOf(item);
  const known = useRowLabels();
  const x = useItem(selectedRow.value);
  if (!hidden.peek()) hidden.value = initialMask(item, grid);
  const mask = hidden.value!;
  const imputed = useImputation(x, mask);
  const painted = item.kind === "image" || item.kind === "signal";
  return (
    <div class="impute-page">
      <div class="bar">
        <ItemPicker row={selectedRow.value} pick={(row) => (selectedRow.value = row)} name="item" known={known} />
        {painted && <Brush grid={grid} />}
      </div>
      <div class="bar">
        <Presets item={item} grid={grid} />
        <button onClick={undo} disabled={!history.value.length}>
          Undo
        </button>
        <button onClick={() => setMask(emptyMask(grid))} disabled={!mask.includes(1)}>
          Clear mask
        </button>
      </div>
      {painted ? (
        <Images x={x} mask={mask} grid={grid} imputed={imputed} />
      ) : (
        <ImputeTable x={x} mask={mask} imputed={imputed} onToggle={(j) => setMask(toggled(mask, j))} />
      )}
      {!backend.value.live && (
        <p class="soft">
          An exported page shows a single imputation. Use <code>isthmus studio</code> for several draws and
          their uncertainty.
        </p>
      )}
    </div>
  );
}

function gridOf(item: Item): Grid {
  if (item.kind !== "image") return { width: item.shape[item.shape.length - 1], height: 1 };
  const { width, height } = imageSize(item);
  return { width, height };
}

/** Hide a part initially, so that the view shows an imputation at once. */
function initialMask({ kind }: Item, grid: Grid): Mask {
  if (kind === "image") return preset("bottom", grid, Math.random);
  return kind === "signal" ? preset("centre", grid, Math.random) : toggled(emptyMask(grid), 0);
}

function toggled(mask: Mask, j: number): Mask {
  return mask.map((v, i) => (i === j ? 1 - v : v));
}

/** Set the mask and save the previous one for undo. */
function setMask(mask: Mask): void {
  remember();
  hidden.value = mask;
}

function remember(): void {
  history.value = [...history.value.slice(-MOST_UNDONE), hidden.value!];
}

function undo(): void {
  const before = history.value[history.value.length - 1];
  if (!before) return;
  hidden.value = before;
  history.value = history.value.slice(0, -1);
}

/** The diameter of the brush; by default a fraction of the width. */
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
    <div class="hide-presets" role="group" aria-label="Hide a region">
      <span class="soft">Hide</span>
      {presets.map(([name, text]) => (
        <button key={name} onClick={() => setMask(preset(name, grid, Math.random))}>
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
  imputed: Imputed | null;
}

function Images({ x, mask, grid, imputed }: Shown) {
  const line = grid.height === 1;
  const paintOver = (from: Point2D, to: Point2D, erase: boolean) => {
    const value = erase || erasing.value ? 0 : 1;
    hidden.value = stroke(hidden.value!, grid, from, to, brushWidth(grid) / 2, value);
  };
  return (
    <>
      <div class={line ? "impute signal" : "impute"}>
        <figure>
          <MaskPainter
            x={x}
            mask={mask}
            grid={grid}
            radius={brushWidth(grid) / 2}
            onStart={remember}
            onStroke={paintOver}
            onUndo={undo}
          />
          <figcaption>
            <b>Masked.</b> {erasing.value ? "Drag to reveal parts." : "Drag to hide parts."}
          </figcaption>
        </figure>
        {line ? <ImputedSignal imputed={imputed} /> : <ImputedImage imputed={imputed} />}
        {imputed?.std && <Uncertainty std={imputed.std} hidden={imputed.hidden} />}
        {!line && <Original x={x} />}
      </div>
      <Summary imputed={imputed} pixels={mask} unit={line ? "sample" : "pixel"} />
    </>
  );
}

function ImputedImage({ imputed }: { imputed: Imputed | null }) {
  return (
    <figure>
      <SampleView x={imputed && imputed.values} label="imputed item" />
      <figcaption>
        <b>Imputed</b> from the visible part.
      </figcaption>
    </figure>
  );
}

/** The imputed signal drawn over the original. */
function ImputedSignal({ imputed }: { imputed: Imputed | null }) {
  return (
    <figure>
      <SignalOverlay behind={imputed && imputed.x} x={imputed && imputed.values} label="original and imputed signal" />
      <figcaption>
        <b>Imputed</b> signal in colour, original in grey. Ideally the two lines coincide.
      </figcaption>
    </figure>
  );
}

function Original({ x }: { x: Float64Array | null }) {
  return (
    <figure>
      <SampleView x={x} label={`original, item ${selectedRow.value}`} />
      <figcaption>
        <b>Original.</b> Hidden parts are not shown to the model.
      </figcaption>
    </figure>
  );
}

function Uncertainty({ std, hidden }: { std: Float64Array; hidden: Mask }) {
  const shown = useMemo(() => std.map((v, i) => (hidden[i] ? v : 0)), [std, hidden]);
  const top = extent(shown)[1] || 1;
  return (
    <figure>
      <Heatmap values={shown} top={top} label="standard deviation of the imputed values" />
      <figcaption>
        <b>Uncertainty.</b> Standard deviation of the imputed values, from 0 (black) to {formatNumber(top)}{" "}
        (brightest).
      </figcaption>
    </figure>
  );
}

function Summary({ imputed, pixels, unit }: { imputed: Imputed | null; pixels: Mask; unit: string }) {
  const n = hiddenCount(pixels);
  if (!n)
    return <p class="impute-summary">Nothing is hidden. Drag over the item, or choose a region above.</p>;
  return (
    <p class="impute-summary">
      {formatCount(n)} of {formatCount(pixels.length)} {unit}s hidden ({formatPercent(n / pixels.length)}).{" "}
      {imputed?.hidden.includes(1) ? <ImputationError imputed={imputed} unit={unit} /> : "Imputing…"}
    </p>
  );
}

function ImputationError({ imputed, unit }: { imputed: Imputed; unit: string }) {
  const { fill } = manifest.value.item;
  const empty = imputed.x.map((_, i) => fill[i % fill.length]);
  const error = (x: Float64Array) => hiddenError(x, imputed.x, imputed.hidden);
  return (
    <>
      Mean squared error per hidden {unit}: <b>{formatNumber(error(imputed.values))}</b>; with mean values{" "}
      {formatNumber(error(empty))}.
    </>
  );
}
