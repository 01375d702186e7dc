/** Interpolation between two items, and the analogy A − B + C. */

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Condition } from "../backend";
import { analogy, linear, spherical } from "../latent";
import { ItemPicker } from "../components/ItemPicker";
import { classColumn, decodeWithConditions, type RowLabels, ownClass, title, conditionName, useRowLabels } from "../components/labels";
import { first, otherRow, second, swing, terms } from "../components/itemPair";
import { SampleGrid, type SampleGridProps, useEach } from "../components/SampleGrid";
import { backend, selectedRow, selectedClass, manifest, showItem, toSliders } from "../state";
import { RowView, SampleView, useQuery } from "../SampleView";
import { formatCell, formatNumber } from "../format";
import "./Interpolate.css";

const STEPS = 9;
const SECONDS = 4; // duration of the animation from A to B

export function Interpolate() {
  const known = useRowLabels();
  if (!known) return null; // the initial items depend on their classes
  return (
    <div class="stack">
      <Path known={known} />
      <Analogy known={known} />
    </div>
  );
}

interface Ends {
  a: Float32Array;
  b: Float32Array;
  condition: [Condition, Condition];
}

interface LatentPath {
  ends: Ends;
  isSpherical: boolean;
}

/** The codes at positions t along the path, one after another. */
function pathCodes({ ends, isSpherical }: LatentPath, shares: number[]): Float32Array {
  const d = ends.a.length;
  const out = new Float32Array(shares.length * d);
  shares.forEach((t, i) => out.set((isSpherical ? spherical : linear)(ends.a, ends.b, t), i * d));
  return out;
}

/** The condition at t: that of the nearer end. */
function conditionAt({ condition }: Ends, t: number): Condition {
  return condition[t < 0.5 ? 0 : 1];
}

/** The condition for a row: the class chosen in the header, else its own. */
function conditionFor(known: RowLabels, row: number): Condition {
  return selectedClass.value ?? ownClass(known, row);
}

function labelsOf(known: RowLabels) {
  const column = classColumn(manifest.value);
  return (column && known?.get(column)) ?? null;
}

function Path({ known }: { known: RowLabels }) {
  const n = manifest.value.rows!.n;
  const other = (row: number) => otherRow(labelsOf(known), n, row);
  const a = first.value ?? (second.value === null ? selectedRow.value : other(second.value));
  const b = second.value ?? other(a);
  const [isSpherical, setSpherical] = useState(false);
  const condition: [Condition, Condition] = [conditionFor(known, a), conditionFor(known, b)];
  const ends = useQuery(async () => {
    const { mean } = await backend.value.codes([a, b]);
    const d = mean.length / 2;
    return { a: mean.slice(0, d), b: mean.slice(d), condition };
  }, [a, b, ...condition]);
  const path = useMemo(() => ends && { ends, isSpherical }, [ends, isSpherical]);
  const setEnds = (from: number, end: number) => {
    first.value = from;
    second.value = end;
  };
  return (
    <section class="card">
      <h3>From A to B</h3>
      <div class="path">
        <End name="A" row={a} pick={(r) => setEnds(r, b)} known={known} />
        {path ? <PathPlayer path={path} /> : <div />}
        <End name="B" row={b} pick={(r) => setEnds(a, r)} known={known} />
      </div>
      <div class="bar">
        <button onClick={() => setEnds(b, a)}>Swap A and B</button>
        <span class="push choice" role="group" aria-label="Type of path">
          <button aria-pressed={!isSpherical} onClick={() => setSpherical(false)}>
            Linear
          </button>
          <button aria-pressed={isSpherical} onClick={() => setSpherical(true)}>
            Spherical
          </button>
        </span>
      </div>
      {path && <PathSteps path={path} />}
      <p class="soft">
        Every step should look like real data. Cross-fades between A and B indicate that the model has
        not learned what lies between them.{" "}
        {isSpherical
          ? "A spherical path follows an arc about the origin, near the prior's samples if there are many latents."
          : "A linear path follows a straight line."}{" "}
        {condition[0] !== condition[1] && "The first half is decoded with the class of A, the second half with that of B."}
      </p>
    </section>
  );
}

function End(props: { name: string; row: number; pick: (row: number) => void; known: RowLabels }) {
  const { name, row, pick, known } = props;
  return (
    <figure class="end">
      <RowView row={row} small />
      <figcaption>
        <b>{name}</b>: {title(known, row)}
      </figcaption>
      <ItemPicker row={row} pick={pick} name={name} known={known} />
    </figure>
  );
}

/** The item at a position along the path, with playback controls. */
function PathPlayer({ path }: { path: LatentPath }) {
  const [t, setT] = useState(0);
  const [playing, setPlaying] = useState(mayAnimate);
  usePlay(playing, t, setT);
  const decoded = useQuery(async () => {
    const [z, condition] = [pathCodes(path, [t]), conditionAt(path.ends, t)];
    return { z, condition, x: await backend.value.decode(z, 1, condition) };
  }, [path, t]);
  return (
    <div class="path-player">
      <SampleView
        x={decoded?.x ?? null}
        label={`${Math.round(100 * t)}% from A to B`}
        small={manifest.value.item.kind === "signal"}
      />
      <div class="scrub">
        <button class="main" onClick={() => setPlaying(!playing)}>
          {playing ? "Pause" : "Play"}
        </button>
        <input
          type="range"
          min={0}
          max={1}
          step={0.005}
          value={t}
          aria-label="Position between A and B"
          onInput={(e) => {
            setPlaying(false);
            setT(e.currentTarget.valueAsNumber);
          }}
        />
        <output>{Math.round(100 * t)}%</output>
      </div>
      <button onClick={() => decoded && toSliders(decoded.z, decoded.condition)}>
        Send to sliders
      </button>
    </div>
  );
}

/** Whether the animation may start automatically. */
function mayAnimate(): boolean {
  return !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Animate t back and forth from its current value. */
function usePlay(playing: boolean, t: number, set: (t: number) => void): void {
  const current = useRef(t);
  current.current = t;
  useEffect(() => {
    if (!playing) return;
    const from = current.current;
    let [started, frame] = [0, 0];
    const tick = (now: number) => {
      started ||= now;
      set(swing(from + (now - started) / 1000 / SECONDS));
      frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [playing]);
}

function PathSteps({ path }: { path: LatentPath }) {
  const shares = Array.from({ length: STEPS }, (_, i) => i / (STEPS - 1));
  const decoded = useQuery(async () => {
    const codes = pathCodes(path, shares);
    const condition = shares.map((t) => conditionAt(path.ends, t));
    return { codes, condition, x: await decodeWithConditions(codes, condition) };
  }, [path]);
  const d = path.ends.a.length;
  const action = (i: number) => `Send the step at ${Math.round(100 * shares[i])}% to the sliders`;
  const pick = (i: number) => {
    if (decoded) toSliders(decoded.codes.slice(i * d, (i + 1) * d), decoded.condition[i]);
  };
  const caption = (i: number) => `${Math.round(100 * shares[i])}%`;
  const Steps = manifest.value.item.kind === "table" ? StepTable : SampleGrid;
  return (
    <div class="steps">
      <Steps values={decoded?.x ?? null} n={STEPS} caption={caption} action={action} pick={pick} />
    </div>
  );
}

/** The steps of a table row: one line per column. */
function StepTable({ values, n, caption, action, pick }: SampleGridProps) {
  const each = useEach(values, n);
  const steps = Array.from({ length: n }, (_, i) => i);
  return (
    <table class="numbers">
      <caption class="unseen">Steps from A to B</caption>
      <thead>
        <tr>
          <th scope="col">column</th>
          {steps.map((i) => (
            <td key={i}>
              <button onClick={() => pick(i)} title={action(i)}>
                {caption(i)}
              </button>
            </td>
          ))}
        </tr>
      </thead>
      <tbody>
        {(manifest.value.item.features ?? []).map((feature, j) => (
          <tr key={j}>
            <th scope="row">{feature.name}</th>
            {steps.map((i) => (
              <td key={i}>{each ? formatCell(feature, each[i][j]) : "…"}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const NAMES = ["A", "B", "C"];

function Analogy({ known }: { known: RowLabels }) {
  const n = manifest.value.rows!.n;
  const rows = useMemo(() => startingTerms(known, n), [known, n]).map((r, k) => terms.value[k] ?? r);
  const condition = conditionFor(known, rows[2]);
  const result = useQuery(() => combine(rows, condition), [...rows, condition]);
  return (
    <section class="card">
      <h3>Analogy: A − B + C</h3>
      <div class="analogy">
        {NAMES.map((name, k) => (
          <Term key={name} sign={["", "−", "+"][k]}>
            <End
              name={name}
              row={rows[k]}
              pick={(r) => (terms.value = rows.map((old, i) => (i === k ? r : old)))}
              known={known}
            />
          </Term>
        ))}
        <Term sign="=">
          <Result result={result} />
        </Term>
        <Term sign="≈">
          <Nearest result={result} known={known} />
        </Term>
      </div>
      <p class="soft">
        Adds to C what distinguishes A from B. Choose A and B that differ in a single attribute; the result
        should keep everything else of C.
      </p>
    </section>
  );
}

type Combined = Awaited<ReturnType<typeof combine>>;

function Result({ result }: { result: Combined | null }) {
  const { classes } = manifest.value.model;
  return (
    <figure class="end">
      <SampleView x={result?.x ?? null} label="A − B + C" small />
      <figcaption>
        <b>Result</b>
        {classes && result && `, decoded as ${conditionName(result.condition)}`}
      </figcaption>
      <button disabled={!result} onClick={() => toSliders(result!.z, result!.condition)}>
        Send to sliders
      </button>
    </figure>
  );
}

function Nearest({ result, known }: { result: Combined | null; known: RowLabels }) {
  if (!result) return null;
  return (
    <figure class="end">
      <RowView row={result.near} small />
      <figcaption>
        nearest: {title(known, result.near)}, distance {formatNumber(result.distance, 2)}
      </figcaption>
      <button onClick={() => showItem(result.near)}>Open item</button>
    </figure>
  );
}

/** A term of the sum with its sign. */
function Term({ sign, children }: { sign: string; children: ComponentChildren }) {
  return (
    <div class="term">
      <span class="sign">{sign}</span>
      {children}
    </div>
  );
}

/** Three initial items, of different classes if known. */
function startingTerms(known: RowLabels, n: number): number[] {
  const labels = labelsOf(known);
  const a = selectedRow.value;
  const b = otherRow(labels, n, a);
  return [a, b, otherRow(labels, n, (b + Math.floor(n / 3)) % n)];
}

/** Decode A − B + C and find the nearest other item. */
async function combine(rows: number[], condition: Condition) {
  const { mean } = await backend.value.codes(rows);
  const d = mean.length / 3;
  const part = (k: number) => mean.subarray(k * d, (k + 1) * d);
  const z = analogy(part(0), part(1), part(2));
  const [x, found] = await Promise.all([
    backend.value.decode(z, 1, condition),
    backend.value.neighbours(z, rows.length + 1),
  ]);
  const i = Math.max(0, found.rows.findIndex((r) => !rows.includes(r)));
  return { z, x, condition, near: found.rows[i], distance: found.distances[i] };
}
