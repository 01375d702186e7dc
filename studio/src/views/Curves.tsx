/** Training curves of runs, drawn with uPlot. */

import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import {
  aligned,
  bestEpoch,
  lastEpoch,
  logarithm,
  type Quantity,
  quantitiesOf,
  recordOf,
  valueAt,
} from "../curves";
import type { Run } from "../manifest";
import { cssColour, useDark, useWidth } from "../theme";
import { formatCount, csv, download, formatNumber } from "../format";
import { colourOf } from "./runColours";
import { logTicks } from "./ticks";

/** Ranges of epochs: the fraction omitted at the start. */
const PARTS = { all: 0, "last half": 0.5, "last tenth": 0.9 };
type Part = keyof typeof PARTS;

export function Curves({ runs }: { runs: Run[] }) {
  const quantities = quantitiesOf(runs);
  const [key, setKey] = useState("loss");
  const [part, setPart] = useState<Part>("all");
  const [wantsLog, setWantsLog] = useState<boolean | null>(null); // null: chosen from the values
  const [hidden, setHidden] = useState<string[]>([]);
  const [at, setAt] = useState<number | null>(null);
  const quantity = quantities.find((q) => q.key === key) ?? quantities[0];
  const shown = runs.filter((run) => !hidden.includes(run.name));
  const from = Math.max(0, ...runs.map(lastEpoch)) * PARTS[part];
  const data = aligned(shown, quantity.key, from);
  const { possible, better } = logarithm(data.slice(1));
  const log = possible && (wantsLog ?? better);
  const held = runs.some((run) => run.history.some((r) => `valid_${quantity.key}` in r));
  return (
    <section class="card" aria-label="Curves">
      <div class="bar">
        <label>
          Quantity{" "}
          <select value={quantity.key} onChange={(e) => setKey(e.currentTarget.value)}>
            {quantities.map((q) => (
              <option key={q.key} value={q.key}>
                {q.name}
              </option>
            ))}
          </select>
        </label>
        <label>
          Epochs{" "}
          <select value={part} onChange={(e) => setPart(e.currentTarget.value as Part)}>
            {Object.keys(PARTS).map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <label title={possible ? "" : "Some values are not positive"}>
          <input
            type="checkbox"
            checked={log}
            disabled={!possible}
            onChange={(e) => setWantsLog(e.currentTarget.checked)}
          />{" "}
          log scale
        </label>
      </div>
      <p class="soft">{quantity.description}</p>
      <Chart {...{ runs, shown, quantity, data, log, held }} onHover={setAt} />
      <p class="curve-key soft" aria-hidden="true">
        {held && <span class="held">held-out rows</span>}
        <span class={held ? "train" : "held"}>training rows</span>
        <span class="best">best epoch</span>
        <span class="hint">Drag to zoom in, double-click to zoom out.</span>
      </p>
      <Legend
        runs={runs}
        quantity={quantity}
        at={at}
        held={held}
        hidden={hidden}
        toggle={(name) =>
          setHidden(hidden.includes(name) ? hidden.filter((h) => h !== name) : [...hidden, name])
        }
      />
      <Table runs={runs} quantity={quantity} />
    </section>
  );
}

interface ChartProps {
  runs: Run[];
  shown: Run[];
  quantity: Quantity;
  data: ReturnType<typeof aligned>;
  log: boolean;
  held: boolean;
  onHover: (epoch: number | null) => void;
}

function Chart({ runs, shown, quantity, data, log, held, onHover }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const now = useRef(shown); // read when the chart is drawn, after this render
  now.current = shown;
  const [dark, width] = [useDark(), useWidth(place)];
  const names = JSON.stringify(shown.map((run) => run.name));
  useEffect(() => {
    if (!place.current || !width) return;
    const options = optionsOf(runs, () => now.current, quantity, log, held, width, onHover);
    chart.current = new uPlot(options, data as uPlot.AlignedData, place.current);
    return () => {
      chart.current?.destroy();
      chart.current = null;
    };
  }, [names, quantity.key, log, held, dark, width > 0]);
  useEffect(() => {
    if (width) chart.current?.setSize({ width, height: heightOf(width) });
  }, [width]);
  useEffect(() => {
    if (chart.current) follow(chart.current, data as uPlot.AlignedData);
  }, [shown.map(lastEpoch).join(), data[0][0], data[0].length]);
  return <div ref={place} class="plot" role="img" aria-label={summary(shown, quantity)} />;
}

/** Add new epochs and keep the current zoom. */
function follow(chart: uPlot, data: uPlot.AlignedData): void {
  const [epochs, { min, max }] = [chart.data[0], chart.scales.x];
  const drawn = typeof min === "number" && typeof max === "number" && epochs.length > 1;
  const zoomed = drawn && (min > epochs[0] || max < epochs[epochs.length - 1]);
  chart.setData(data, !zoomed || data[0][0] !== epochs[0]);
  if (zoomed) chart.redraw();
}

const heightOf = (width: number) => Math.round(Math.min(380, Math.max(240, 0.42 * width)));

function optionsOf(
  runs: Run[],
  shown: () => Run[],
  quantity: Quantity,
  log: boolean,
  held: boolean,
  width: number,
  onHover: (epoch: number | null) => void,
): uPlot.Options {
  const font = "12px system-ui, sans-serif";
  const axis = {
    labelSize: 20,
    labelFont: font,
    stroke: cssColour("--soft"),
    grid: { stroke: cssColour("--line"), width: 1 },
    ticks: { show: false },
    font,
  };
  const steps = log && {
    splits: (_: uPlot, __: number, low: number, high: number) => logTicks({ low, high }, 6),
    filter: (_: uPlot, splits: number[]) => splits,
  };
  const texts = (_: uPlot, splits: (number | null)[]) =>
    splits.map((v) => (v === null ? "" : formatNumber(v)));
  return {
    width,
    height: heightOf(width),
    padding: [10, 18, 0, 0],
    legend: { show: false },
    scales: { x: { time: false }, y: log ? { distr: 3, range: logRange } : {} },
    axes: [
      { ...axis, label: "epoch", size: 32, incrs: WHOLE },
      { ...axis, label: quantity.unit, size: wide, values: texts, ...steps },
    ],
    cursor: { y: false, points: { size: 7 } },
    series: [{}, ...shown().flatMap((run) => lines(colourOf(runs, run), held))],
    hooks: {
      setCursor: [(u) => onHover(u.cursor.idx == null ? null : u.data[0][u.cursor.idx])],
      draw: [(u) => markBest(u, runs, shown(), quantity.key)],
    },
  };
}

/** The width of the axis labels in pixels. */
const wide = (_: uPlot, texts: string[] | null) =>
  16 + 7 * Math.max(4, ...(texts ?? []).map((text) => text.length));

/** The range of a logarithmic axis with a small margin. */
function logRange(_: uPlot, low: number | null, high: number | null): uPlot.Range.MinMax {
  if (low === null || high === null || low <= 0) return [1, 10];
  const room = Math.max((high / low) ** 0.05, 1.005);
  return [low / room, high * room];
}

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 1e4, 1e5]; // step sizes of the epoch axis

/** Held-out rows as solid lines; training rows thin and dashed if there are held-out rows. */
function lines(colour: string, held: boolean): uPlot.Series[] {
  const points = { show: (u: uPlot) => u.data[0].length < 3 };
  const train = held ? { stroke: `${colour}b0`, width: 1.2, dash: [5, 3] } : { stroke: colour, width: 1.6 };
  return [
    { ...train, points, spanGaps: true },
    { stroke: colour, width: 2, points, spanGaps: true },
  ];
}

/** Mark the best epoch of each run with a vertical line and a ring. */
function markBest(u: uPlot, runs: Run[], shown: Run[], key: string): void {
  const { left, top, width, height } = u.bbox;
  const context = u.ctx;
  const pixelRatio = window.devicePixelRatio || 1;
  context.save();
  context.beginPath();
  context.rect(left, top, width, height);
  context.clip();
  for (const run of shown) {
    const best = bestEpoch(run);
    const record = recordOf(run, best);
    const value = valueAt(record, `valid_${key}`) ?? valueAt(record, key);
    if (best === null || value === null) continue;
    const [x, y] = [u.valToPos(best, "x", true), u.valToPos(value, "y", true)];
    context.strokeStyle = context.fillStyle = colourOf(runs, run);
    context.lineWidth = pixelRatio;
    context.setLineDash([2 * pixelRatio, 3 * pixelRatio]);
    context.beginPath();
    context.moveTo(x, top);
    context.lineTo(x, top + height);
    context.stroke();
    context.setLineDash([]);
    context.lineWidth = 2 * pixelRatio;
    context.fillStyle = cssColour("--card");
    context.beginPath();
    context.arc(x, y, 4.5 * pixelRatio, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }
  context.restore();
}

/** Describe the curves for screen readers. */
function summary(runs: Run[], { key, name, unit }: Quantity): string {
  const each = runs.map((run) => {
    const last = run.history.at(-1);
    const values = [["training", valueAt(last, key)], ["held-out", valueAt(last, `valid_${key}`)]] as const;
    const texts = values.flatMap(([who, v]) => (v === null ? [] : `${who} ${formatNumber(v, 4)}`));
    return `${run.name}: ${texts.join(", ") || "no values yet"} at epoch ${lastEpoch(run)}`;
  });
  return `${name} over epochs, ${unit}. ${each.join("; ")}.`;
}

interface LegendProps {
  runs: Run[];
  quantity: Quantity;
  /** The epoch under the pointer; null shows the best epoch of each run. */
  at: number | null;
  held: boolean;
  hidden: string[];
  toggle: (name: string) => void;
}

function Legend({ runs, quantity, at, held, hidden, toggle }: LegendProps) {
  const many = runs.length > 1;
  const text = (v: number | null) => (v === null ? "–" : formatNumber(v, 4));
  return (
    <div class="scroll">
      <table class="numbers run-legend">
        <caption class="unseen">{quantity.name} of each run</caption>
        <thead>
          <tr>
            <th scope="col">run</th>
            <th scope="col">{at === null ? "best epoch" : "epoch"}</th>
            {held && <th scope="col">held-out</th>}
            <th scope="col">training</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => {
            const epoch = at ?? bestEpoch(run);
            const record = recordOf(run, epoch);
            return (
              <tr key={run.name}>
                <th scope="row">
                  <label>
                    {many && (
                      <input
                        type="checkbox"
                        checked={!hidden.includes(run.name)}
                        onChange={() => toggle(run.name)}
                      />
                    )}
                    <span class="run-swatch" style={{ background: colourOf(runs, run) }} />
                    {run.name}
                  </label>
                </th>
                <td>{epoch === null ? "–" : formatCount(epoch)}</td>
                {held && <td>{text(valueAt(record, `valid_${quantity.key}`))}</td>}
                <td>{text(valueAt(record, quantity.key))}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

const LINES = 40; // maximum number of epochs in the table

/** The values of the curves: a table of some epochs and a CSV file of all. */
function Table({ runs, quantity }: { runs: Run[]; quantity: Quantity }) {
  const [open, setOpen] = useState(false);
  const header = ["epoch", ...runs.flatMap((r) => [`${r.name}, training`, `${r.name}, held-out`])];
  const save = () => {
    const [epochs, ...columns] = aligned(runs, quantity.key);
    const rows = epochs.map((e, i) => [e, ...columns.map((c) => c[i] ?? "")]);
    download(`${quantity.key}.csv`, csv(header, rows));
  };
  return (
    <details onToggle={(e) => setOpen(e.currentTarget.open)}>
      <summary>Values of these curves</summary>
      {open && <Epochs runs={runs} quantity={quantity} header={header} />}
      {open && <button onClick={save}>Export all epochs as CSV</button>}
    </details>
  );
}

function Epochs(props: { runs: Run[]; quantity: Quantity; header: string[] }) {
  const [epochs, ...columns] = aligned(props.runs, props.quantity.key);
  const step = Math.ceil(epochs.length / LINES);
  const rows = epochs.map((_, i) => i).filter((i) => i % step === 0 || i === epochs.length - 1);
  return (
    <>
      {step > 1 && <p class="soft">Every {step}th epoch and the last one; the CSV file contains all epochs.</p>}
      <div class="scroll tall" tabIndex={0} role="group" aria-label="Values of the curves, scrollable">
        <table class="numbers">
          <thead>
            <tr>
              {props.header.map((name) => (
                <th scope="col" key={name}>
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((i) => (
              <tr key={epochs[i]}>
                <th scope="row">{formatCount(epochs[i])}</th>
                {columns.map((column, k) => (
                  <td key={k}>{column[i] === null ? "–" : formatNumber(column[i]!, 4)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}
