/** Views of one item: an image, a signal, a row of a table or a vector. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { latest } from "./backend";
import {
  channelBytes,
  drawBars,
  drawSignal,
  farthest,
  fieldBytes,
  gaps,
  overChannels,
  paint,
  imageBytes,
  imageSize,
  spectrogramBytes,
} from "./draw";
import type { Feature, Item } from "./manifest";
import { cssColour, useDark, useWidth } from "./theme";
import { heardAt, mono, play, RATES, repeats } from "./sound";
import { FLOOR, loudest, spectrogram } from "./spectrogram";
import { attempt, backend, manifest } from "./state";
import "./SampleView.css";
import { formatCell, formatCount, formatNumber } from "./format";

interface Props {
  /** Values in the units of the data; null while they load. */
  x: ArrayLike<number> | null;
  label: string;
  /** A second item to compare a table row or vector with, and its name. */
  beside?: ArrayLike<number> | null;
  besideName?: string;
  small?: boolean;
}

type Kind = Props & { item: Item };

/** Show an item according to its kind. */
export function SampleView(props: Props) {
  const { item } = manifest.value;
  if (item.kind === "image") return <ImageView item={item} {...props} />;
  if (item.kind === "signal")
    return props.small ? <Wave item={item} {...props} /> : <Sound item={item} {...props} />;
  if (item.kind === "vector") return <Vector item={item} {...props} />;
  return <Row item={item} {...props} />;
}

function ImageView({ item, x, label, small }: Kind) {
  const { channels } = imageSize(item);
  const difference = !small && (channels === 2 || channels > 3);
  if (!difference) return <Bytes item={item} x={x} label={label} small={small} bytes={imageBytes} />;
  return (
    <div>
      <Bytes item={item} x={x} label={label} bytes={imageBytes} />
      <div class="image-channels">
        {Array.from({ length: channels }, (_, k) => (
          <figure key={k}>
            <Bytes
              item={item}
              x={x}
              label={`${label}, channel ${k}`}
              bytes={(item, x) => channelBytes(item, x, k)}
            />
            <figcaption>{channelName(channels, k)}</figcaption>
          </figure>
        ))}
      </div>
    </div>
  );
}

/** The caption of a channel: the colour that shows it in the composite image. */
function channelName(channels: number, k: number): string {
  const shown = channels === 2 ? ["green", "magenta"] : ["red", "green", "blue"];
  return shown[k] ? `${k}: ${shown[k]}` : `${k}: not in the composite`;
}

interface BytesProps extends Kind {
  bytes: (item: Item, x: ArrayLike<number>) => Uint8ClampedArray<ArrayBuffer>;
}

/** A canvas with one pixel per value; missing values are transparent and show the hatching behind. */
function Bytes({ item, x, label, small, bytes }: BytesProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = imageSize(item);
  const missing = x ? gaps(x) : 0;
  useEffect(() => {
    if (x && canvas.current) paint(canvas.current, bytes(item, x), width, height);
  }, [x]);
  return (
    <canvas
      ref={canvas}
      class={imageClass(width, missing > 0, small)}
      style={{ aspectRatio: `${width} / ${height}` }}
      role="img"
      aria-label={missing ? `${label}, ${formatCount(missing)} values missing (hatched)` : label}
      width={width}
      height={height}
    />
  );
}

const FINE = 256; // width in pixels from which images are smoothed

function imageClass(width: number, missing: boolean, small?: boolean): string {
  return ["image", small && "small", missing && "gaps", width > FINE && "fine"]
    .filter(Boolean)
    .join(" ");
}

/** One number per pixel as a colour: a signed difference or a heatmap. */
export function Field(props: { values: ArrayLike<number>; how: "signed" | "heat"; label: string }) {
  const { item } = manifest.value;
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = imageSize(item);
  // A mean would cancel opposite errors in two channels.
  const flat = props.how === "signed" ? farthest : overChannels;
  const values = useMemo(() => flat(item, props.values), [props.values, flat]);
  useEffect(() => {
    if (canvas.current) paint(canvas.current, fieldBytes(values, props.how), width, height);
  }, [values, props.how]);
  return (
    <canvas
      ref={canvas}
      class={imageClass(width, gaps(values) > 0)}
      style={{ aspectRatio: `${width} / ${height}` }}
      role="img"
      aria-label={props.label}
      width={width}
      height={height}
    />
  );
}

function Wave({ item, x, label, small }: Kind) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [dark, width] = [useDark(), useWidth(canvas)];
  useEffect(() => {
    if (x && canvas.current) drawSignal(canvas.current, item, x, cssColour("--accent"));
  }, [x, dark, width]);
  return <canvas ref={canvas} class={small ? "wave small" : "wave"} role="img" aria-label={label} />;
}

/** A signal with its waveform, a playback button and its spectrogram. */
function Sound({ item, x, label }: Kind) {
  const rate = item.rate ?? heardAt.value;
  const samples = item.shape[item.shape.length - 1];
  const times = repeats(samples, rate);
  const sound = useMemo(() => x && mono(item, x), [x]);
  return (
    <div>
      <Wave item={item} x={x} label={`${label}: waveform`} />
      <p class="axis-labels">
        <span>0</span>
        <span>
          {formatCount(samples)} samples{item.rate ? `, ${formatNumber(samples / item.rate)} s` : ""}
        </span>
      </p>
      <div class="listen">
        <Play sound={sound} rate={rate} label={label} />
        {item.rate === null && (
          <label>
            at{" "}
            <select value={rate} onChange={(e) => (heardAt.value = Number(e.currentTarget.value))}>
              {RATES.map((r) => (
                <option key={r} value={r}>
                  {formatCount(r)} Hz
                </option>
              ))}
            </select>
          </label>
        )}
        {times > 1 && <span class="soft">short signal, repeated {formatCount(times)} times</span>}
      </div>
      <Frequencies sound={sound} rate={rate} label={label} />
    </div>
  );
}

function Play(props: { sound: Float32Array | null; rate: number; label: string }) {
  const { sound, rate, label } = props;
  const [stop, setStop] = useState<(() => void) | null>(null);
  const last = useRef(stop);
  last.current = stop;
  useEffect(() => () => last.current?.(), [sound]); // stop when another signal is shown
  const start = () => {
    if (!sound) return;
    const silence = play(sound, rate, () => setStop(null));
    setStop(() => silence);
  };
  return (
    <button
      disabled={!sound}
      aria-label={`${stop ? "Stop" : "Play"} ${label}`}
      onClick={() => (stop ? stop() : start())}
    >
      {stop ? "■ Stop" : "▶ Play"}
    </button>
  );
}

function Frequencies(props: { sound: Float32Array | null; rate: number; label: string }) {
  const { sound, rate, label } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [peak, setPeak] = useState<number | null>(null);
  useEffect(() => {
    if (!sound || !canvas.current) return;
    const result = spectrogram(sound);
    paint(canvas.current, spectrogramBytes(result), result.frames, result.bins);
    setPeak(loudest(result));
  }, [sound]);
  const frequency = (share: number) => `${formatNumber(share * rate)} Hz`;
  return (
    <figure>
      <canvas
        ref={canvas}
        class="spectrogram"
        role="img"
        aria-label={`${label}: spectrogram${peak === null ? "" : `, loudest at ${frequency(peak)}`}`}
      />
      <figcaption>
        Frequencies from 0 (bottom) to {frequency(0.5)}. Brighter is louder; the darkest colour is {FLOOR} dB.
        {peak !== null && ` Loudest at ${frequency(peak)}.`}
      </figcaption>
    </figure>
  );
}

const FEW = 6; // columns shown on a small card
const MANY = 24; // length from which a vector is drawn as bars
const LONG = 20; // number of columns from which a search field is shown

/** A vector as a table, or as bars if it is long. */
function Vector(props: Kind) {
  const { item, x, label, beside, small } = props;
  const n = item.shape.reduce((a, b) => a * b, 1);
  if (n <= (small ? FEW : MANY)) return <Row {...props} />;
  return (
    <div>
      <Bars item={item} x={x} beside={beside} label={label} small={small} />
      {!small && (
        <>
          <p class="axis-labels">
            <span>0</span>
            <span>
              {formatCount(n)} values from {formatNumber(item.low)} to {formatNumber(item.high)}
              {beside && "; marks show the comparison"}
            </span>
            <span>{n - 1}</span>
          </p>
          <Numbers {...props} />
        </>
      )}
    </div>
  );
}

/** The values of a vector, rendered when the section is opened. */
function Numbers(props: Kind) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>Values</summary>
      {open && <Row {...props} />}
    </details>
  );
}

function Bars({ item, x, beside, label, small }: Kind) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [dark, width] = [useDark(), useWidth(canvas)];
  useEffect(() => {
    if (!x || !canvas.current) return;
    const colours = { bar: cssColour("--accent"), mark: cssColour("--warn"), axis: cssColour("--soft") };
    drawBars(canvas.current, item, x, beside ?? null, colours);
  }, [x, beside, dark, width]);
  return <canvas ref={canvas} class={small ? "bars small" : "bars"} role="img" aria-label={label} />;
}

/** A table row: names and values, optionally compared with a second row. */
function Row({ item, x, beside, besideName, label, small }: Kind) {
  const [search, setWanted] = useState("");
  const [byDistance, setByDistance] = useState(false);
  const all = featuresOf(item);
  const long = !small && all.length > LONG;
  const compared = !small && beside !== undefined && beside !== null;
  const difference = (j: number) => (x && beside ? distance(item, all[j], j, x[j], beside[j]) : 0);
  let rows = all.map((_, j) => j).filter((j) => matches(all[j].name, search));
  if (compared && byDistance) rows = sortDescending(rows, (j) => Math.abs(difference(j)));
  if (small) rows = rows.slice(0, FEW);
  // A scrolling region must be reachable by keyboard.
  const scrolls = long ? { tabIndex: 0, role: "group" as const, "aria-label": `${label}, scrollable` } : {};
  return (
    <div>
      {long && (
        <div class="column-filter">
          <input
            type="text"
            aria-label="Search columns by name"
            placeholder={`Search ${formatCount(all.length)} columns`}
            value={search}
            onInput={(e) => setWanted(e.currentTarget.value)}
          />
          {compared && (
            <label>
              <input
                type="checkbox"
                checked={byDistance}
                onChange={(e) => setByDistance(e.currentTarget.checked)}
              />{" "}
              largest differences first
            </label>
          )}
        </div>
      )}
      <div class={small ? "row small" : "row"} {...scrolls}>
        <table>
          <caption class="unseen">{label}</caption>
          {!small && (
            <thead>
              <tr>
                <th scope="col">column</th>
                <th scope="col">value</th>
                {compared && <th scope="col">{besideName ?? "comparison"}</th>}
                {compared && <th scope="col">difference</th>}
              </tr>
            </thead>
          )}
          <tbody>
            {rows.map((j) => (
              <tr key={j}>
                <th scope="row">{all[j].name}</th>
                <Value feature={all[j]} value={x?.[j]} />
                {compared && <Value feature={all[j]} value={beside[j]} soft />}
                {compared && <Difference feature={all[j]} value={difference(j)} />}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {small && all.length > rows.length && <p class="soft">and {formatCount(all.length - rows.length)} more</p>}
      {!rows.length && <p class="soft">No column name contains “{search}”.</p>}
      {compared && (
        <p class="soft">Differences are in standard deviations of the column; values beyond ±1 are highlighted.</p>
      )}
    </div>
  );
}

function Value(props: { feature: Feature; value: number | undefined; soft?: boolean }) {
  const { feature, value, soft } = props;
  const kind = value !== undefined && Number.isNaN(value) ? "missing" : soft ? "soft" : undefined;
  return <td class={kind}>{formatCell(feature, value)}</td>;
}

const FAR = 1; // difference in standard deviations from which it is highlighted

function Difference({ feature, value }: { feature: Feature; value: number }) {
  const far = Math.abs(value) > FAR ? "far" : "soft";
  if (Number.isNaN(value)) return <td class="soft">–</td>;
  if (feature.categories) return <td class={far}>{value ? "differs" : "same"}</td>;
  const text = formatNumber(value, 2);
  return <td class={far}>{value > 0 ? `+${text}` : text}</td>;
}

/** The difference of two values in the scale of the column; infinite if two categories differ. */
function distance(item: Item, feature: Feature, j: number, a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return NaN;
  if (feature.categories) return Math.round(a) === Math.round(b) ? 0 : Infinity;
  return (a - b) / (item.scale[j % item.scale.length] || 1);
}

/** Sort columns by decreasing value; NaN comes last. */
function sortDescending(rows: number[], of: (j: number) => number): number[] {
  const key = (j: number) => (Number.isNaN(of(j)) ? -1 : of(j));
  return [...rows].sort((a, b) => (key(b) > key(a) ? 1 : key(b) < key(a) ? -1 : a - b));
}

function featuresOf(item: Item): Feature[] {
  const n = item.shape.reduce((a, b) => a * b, 1);
  const plain = (j: number) => ({ name: String(j), categories: null, whole: false });
  return item.features ?? Array.from({ length: n }, (_, j) => plain(j));
}

function matches(name: string, search: string): boolean {
  return name.toLowerCase().includes(search.trim().toLowerCase());
}

/** The item in a row of the data, loaded when it is first shown. */
export function RowView({ row, small }: { row: number; small?: boolean }) {
  const x = useItem(row);
  return <SampleView x={x} label={`item ${row}`} small={small} />;
}

/** The values of a row; null while they load. */
export function useItem(row: number): Float64Array | null {
  return useQuery(() => backend.value.items([row]), [row]);
}

/**
 * The result of a backend query, which runs again when `dependencies` change. While a query runs,
 * only the latest new query is queued; the previous result remains until it arrives.
 */
export function useQuery<T>(query: () => Promise<T>, dependencies: unknown[]): T | null {
  const [result, setResult] = useState<T | null>(null);
  const alive = useRef(true);
  const queue = useRef(latest((run: () => Promise<T>) => run()));
  useEffect(() => () => void (alive.current = false), []);
  useEffect(() => {
    void attempt(queue.current(query)).then((value) => {
      if (value !== null && alive.current) setResult(() => value);
    });
  }, dependencies);
  return result;
}
