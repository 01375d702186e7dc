/** One item, whatever it is: a picture, a signal, a row of a table, a vector. */

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
  pictureBytes,
  pictureSize,
  spectrogramBytes,
} from "./draw";
import type { Feature, Item } from "./manifest";
import { cssColour, useDark, useWidth } from "./scheme";
import { heardAt, mono, play, RATES, repeats } from "./sound";
import { FLOOR, loudest, spectrogram } from "./spectrogram";
import { attempt, backend, manifest } from "./state";
import "./Thing.css";
import { cell, count, number } from "./words";

interface Props {
  /** Values in the units of the data; null while they are on their way. */
  x: ArrayLike<number> | null;
  label: string;
  /** A second item to compare a row or a vector with, and what it is. */
  beside?: ArrayLike<number> | null;
  besideName?: string;
  small?: boolean;
}

type Kind = Props & { item: Item };

/** Draw an item as its kind asks for. */
export function Thing(props: Props) {
  const { item } = manifest.value;
  if (item.kind === "picture") return <Picture item={item} {...props} />;
  if (item.kind === "signal")
    return props.small ? <Wave item={item} {...props} /> : <Sound item={item} {...props} />;
  if (item.kind === "vector") return <Vector item={item} {...props} />;
  return <Row item={item} {...props} />;
}

function Picture({ item, x, label, small }: Kind) {
  const { channels } = pictureSize(item);
  const apart = !small && (channels === 2 || channels > 3);
  if (!apart) return <Bytes item={item} x={x} label={label} small={small} bytes={pictureBytes} />;
  return (
    <div>
      <Bytes item={item} x={x} label={label} bytes={pictureBytes} />
      <div class="picture-channels">
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

/** What a channel is in the picture above it. */
function channelName(channels: number, k: number): string {
  const shown = channels === 2 ? ["green", "magenta"] : ["red", "green", "blue"];
  return shown[k] ? `${k}: ${shown[k]}` : `${k}: not above`;
}

interface BytesProps extends Kind {
  bytes: (item: Item, x: ArrayLike<number>) => Uint8ClampedArray<ArrayBuffer>;
}

/** A canvas with a pixel a value; what is missing shows the hatching behind it. */
function Bytes({ item, x, label, small, bytes }: BytesProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = pictureSize(item);
  const missing = x ? gaps(x) : 0;
  useEffect(() => {
    if (x && canvas.current) paint(canvas.current, bytes(item, x), width, height);
  }, [x]);
  return (
    <canvas
      ref={canvas}
      class={pictureClass(width, missing > 0, small)}
      style={{ aspectRatio: `${width} / ${height}` }}
      role="img"
      aria-label={missing ? `${label}, ${count(missing)} values missing (hatched)` : label}
      width={width}
      height={height}
    />
  );
}

const FINE = 256; // pixels across from which single ones are not to be seen

function pictureClass(width: number, missing: boolean, small?: boolean): string {
  return ["picture", small && "small", missing && "gaps", width > FINE && "fine"]
    .filter(Boolean)
    .join(" ");
}

/** A number a pixel in colour: the signed difference of two pictures, or heat. */
export function Field(props: { values: ArrayLike<number>; how: "signed" | "heat"; label: string }) {
  const { item } = manifest.value;
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = pictureSize(item);
  // Opposite errors of two colours must not cancel out.
  const flat = props.how === "signed" ? farthest : overChannels;
  const values = useMemo(() => flat(item, props.values), [props.values, flat]);
  useEffect(() => {
    if (canvas.current) paint(canvas.current, fieldBytes(values, props.how), width, height);
  }, [values, props.how]);
  return (
    <canvas
      ref={canvas}
      class={pictureClass(width, gaps(values) > 0)}
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

/** A signal in full: its wave, a button to hear it, its spectrogram. */
function Sound({ item, x, label }: Kind) {
  const rate = item.rate ?? heardAt.value;
  const samples = item.shape[item.shape.length - 1];
  const times = repeats(samples, rate);
  const sound = useMemo(() => x && mono(item, x), [x]);
  return (
    <div>
      <Wave item={item} x={x} label={`${label}: the wave`} />
      <p class="below-wave">
        <span>0</span>
        <span>
          {count(samples)} samples{item.rate ? `, ${number(samples / item.rate)} s` : ""}
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
                  {count(r)} samples a second
                </option>
              ))}
            </select>
          </label>
        )}
        {times > 1 && <span class="soft">very short: played {count(times)} times over</span>}
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
  useEffect(() => () => last.current?.(), [sound]); // another one would be called by its name
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
    const made = spectrogram(sound);
    paint(canvas.current, spectrogramBytes(made), made.frames, made.bins);
    setPeak(loudest(made));
  }, [sound]);
  const frequency = (share: number) => `${number(share * rate)} Hz`;
  return (
    <figure>
      <canvas
        ref={canvas}
        class="spectrogram"
        role="img"
        aria-label={`${label}: spectrogram${peak === null ? "" : `, loudest at ${frequency(peak)}`}`}
      />
      <figcaption>
        Frequencies from 0 (bottom) to {frequency(0.5)}; bright is loud, darkest is {-FLOOR} dB below full.
        {peak !== null && ` Loudest at ${frequency(peak)}.`}
      </figcaption>
    </figure>
  );
}

const FEW = 6; // columns on a small card
const MANY = 24; // numbers of a vector from which bars tell more than rows
const LONG = 20; // columns from which one wants to search

/** Numbers without names of their own: bars where they are many. */
function Vector(props: Kind) {
  const { item, x, label, beside, small } = props;
  const n = item.shape.reduce((a, b) => a * b, 1);
  if (n <= (small ? FEW : MANY)) return <Row {...props} />;
  return (
    <div>
      <Bars item={item} x={x} beside={beside} label={label} small={small} />
      {!small && (
        <>
          <p class="below-wave">
            <span>0</span>
            <span>
              {count(n)} numbers from {number(item.low)} to {number(item.high)}
              {beside && "; marks: what it is compared with"}
            </span>
            <span>{n - 1}</span>
          </p>
          <Numbers {...props} />
        </>
      )}
    </div>
  );
}

/** The rows of a vector, made only when they are asked for. */
function Numbers(props: Kind) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>The numbers</summary>
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

/** A row of a table: names and values, and beside another how far they are apart. */
function Row({ item, x, beside, besideName, label, small }: Kind) {
  const [wanted, setWanted] = useState("");
  const [byDistance, setByDistance] = useState(false);
  const all = featuresOf(item);
  const long = !small && all.length > LONG;
  const compared = !small && beside !== undefined && beside !== null;
  const apart = (j: number) => (x && beside ? distance(item, all[j], j, x[j], beside[j]) : 0);
  let rows = all.map((_, j) => j).filter((j) => matches(all[j].name, wanted));
  if (compared && byDistance) rows = byFall(rows, (j) => Math.abs(apart(j)));
  if (small) rows = rows.slice(0, FEW);
  // What scrolls must be reached by keyboard.
  const scrolls = long ? { tabIndex: 0, role: "group" as const, "aria-label": `${label}, scrolls` } : {};
  return (
    <div>
      {long && (
        <div class="column-filter">
          <input
            type="text"
            aria-label="Columns whose name contains"
            placeholder={`Find in ${count(all.length)} columns`}
            value={wanted}
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
                {compared && <th scope="col">{besideName ?? "compared"}</th>}
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
                {compared && <Difference feature={all[j]} value={apart(j)} />}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {small && all.length > rows.length && <p class="soft">and {count(all.length - rows.length)} more</p>}
      {!rows.length && <p class="soft">No column's name contains “{wanted}”.</p>}
      {compared && (
        <p class="soft">Differences are in units of the column's usual spread; beyond ±1 they stand out.</p>
      )}
    </div>
  );
}

function Value(props: { feature: Feature; value: number | undefined; soft?: boolean }) {
  const { feature, value, soft } = props;
  const kind = value !== undefined && Number.isNaN(value) ? "missing" : soft ? "soft" : undefined;
  return <td class={kind}>{cell(feature, value)}</td>;
}

const FAR = 1; // spreads from which a difference stands out

function Difference({ feature, value }: { feature: Feature; value: number }) {
  const far = Math.abs(value) > FAR ? "far" : "soft";
  if (Number.isNaN(value)) return <td class="soft">–</td>;
  if (feature.categories) return <td class={far}>{value ? "differs" : "same"}</td>;
  const text = number(value, 2);
  return <td class={far}>{value > 0 ? `+${text}` : text}</td>;
}

/** A value less another in units of its column; of categories endless where they differ. */
function distance(item: Item, feature: Feature, j: number, a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return NaN;
  if (feature.categories) return Math.round(a) === Math.round(b) ? 0 : Infinity;
  return (a - b) / (item.scale[j % item.scale.length] || 1);
}

/** Rows from the greatest to the least of a number; what is not known comes last. */
function byFall(rows: number[], of: (j: number) => number): number[] {
  const key = (j: number) => (Number.isNaN(of(j)) ? -1 : of(j));
  return [...rows].sort((a, b) => (key(b) > key(a) ? 1 : key(b) < key(a) ? -1 : a - b));
}

function featuresOf(item: Item): Feature[] {
  const n = item.shape.reduce((a, b) => a * b, 1);
  const plain = (j: number) => ({ name: String(j), categories: null, whole: false });
  return item.features ?? Array.from({ length: n }, (_, j) => plain(j));
}

function matches(name: string, wanted: string): boolean {
  return name.toLowerCase().includes(wanted.trim().toLowerCase());
}

/** The item of a row of the data, fetched when it is first shown. */
export function RowThing({ row, small }: { row: number; small?: boolean }) {
  const x = useItem(row);
  return <Thing x={x} label={`item ${row}`} small={small} />;
}

/** The values of a row; null until they are here. */
export function useItem(row: number): Float64Array | null {
  return useAnswer(() => backend.value.items([row]), [row]);
}

/**
 * The answer to a question of the backend, asked again whenever `about` changes. Of questions
 * that come faster than answers only the last is asked; the old answer stays until then.
 */
export function useAnswer<T>(ask: () => Promise<T>, about: unknown[]): T | null {
  const [answer, setAnswer] = useState<T | null>(null);
  const alive = useRef(true);
  const asking = useRef(latest((question: () => Promise<T>) => question()));
  useEffect(() => () => void (alive.current = false), []);
  useEffect(() => {
    void attempt(asking.current(ask)).then((got) => {
      if (got !== null && alive.current) setAnswer(() => got);
    });
  }, about);
  return answer;
}
