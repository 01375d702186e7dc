/** The way from one item to another, and "this − that + other". */

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Condition } from "../backend";
import { analogy, linear, spherical } from "../latent";
import { ItemPicker } from "../parts/ItemPicker";
import { classColumn, decodeTold, type Known, ownClass, title, toldName, useKnown } from "../parts/labels";
import { first, otherRow, second, swing, terms } from "../parts/pair";
import { Sheet, type SheetProps, useEach } from "../parts/Sheet";
import { backend, chosen, condition, manifest, showItem, toSliders } from "../state";
import { RowThing, Thing, useAnswer } from "../Thing";
import { cell, number } from "../words";
import "./Between.css";

const STEPS = 9;
const SECONDS = 4; // for one way

export function Between() {
  const known = useKnown();
  if (!known) return null; // classes decide where it begins
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
  told: [Condition, Condition];
}

interface Way {
  ends: Ends;
  round: boolean;
}

/** The codes a share t of the way each, one after another. */
function along({ ends, round }: Way, shares: number[]): Float32Array {
  const d = ends.a.length;
  const out = new Float32Array(shares.length * d);
  shares.forEach((t, i) => out.set((round ? spherical : linear)(ends.a, ends.b, t), i * d));
  return out;
}

/** The class told at t: the nearer end's. */
function toldAt({ told }: Ends, t: number): Condition {
  return told[t < 0.5 ? 0 : 1];
}

/** The class told of a row: the header's where one is chosen, else its own. */
function toldOf(known: Known, row: number): Condition {
  return condition.value ?? ownClass(known, row);
}

function labelsOf(known: Known) {
  const column = classColumn(manifest.value);
  return (column && known?.get(column)) ?? null;
}

function Path({ known }: { known: Known }) {
  const n = manifest.value.rows!.n;
  const other = (row: number) => otherRow(labelsOf(known), n, row);
  const a = first.value ?? (second.value === null ? chosen.value : other(second.value));
  const to = second.value ?? other(a);
  const [round, setRound] = useState(false);
  const told: [Condition, Condition] = [toldOf(known, a), toldOf(known, to)];
  const ends = useAnswer(async () => {
    const { mean } = await backend.value.codes([a, to]);
    const d = mean.length / 2;
    return { a: mean.slice(0, d), b: mean.slice(d), told };
  }, [a, to, ...told]);
  const way = useMemo(() => ends && { ends, round }, [ends, round]);
  const put = (from: number, end: number) => {
    first.value = from;
    second.value = end;
  };
  return (
    <section class="card">
      <h3>From A to B</h3>
      <div class="path">
        <End name="A" row={a} pick={(r) => put(r, to)} known={known} />
        {way ? <Moving way={way} /> : <div />}
        <End name="B" row={to} pick={(r) => put(a, r)} known={known} />
      </div>
      <div class="bar">
        <button onClick={() => put(to, a)}>Swap A and B</button>
        <span class="push choice" role="group" aria-label="Kind of path">
          <button aria-pressed={!round} onClick={() => setRound(false)}>
            Linear
          </button>
          <button aria-pressed={round} onClick={() => setRound(true)}>
            Spherical
          </button>
        </span>
      </div>
      {way && <Strip way={way} />}
      <p class="soft">
        Good is a way on which every step looks like data: the model has learned what lies between.
        Mixtures of both ends, one fading over the other, mean that it has not.{" "}
        {round
          ? "Spherical goes along an arc about the origin: with many latents the prior's draws lie there."
          : "Linear goes straight."}{" "}
        {told[0] !== told[1] && "Up to the middle the decoder is told A's class, from there on B's."}
      </p>
    </section>
  );
}

function End(props: { name: string; row: number; pick: (row: number) => void; known: Known }) {
  const { name, row, pick, known } = props;
  return (
    <figure class="end">
      <RowThing row={row} small />
      <figcaption>
        <b>{name}</b>: {title(known, row)}
      </figcaption>
      <ItemPicker row={row} pick={pick} name={name} known={known} />
    </figure>
  );
}

/** How far along the way one stands; a strip's steps set it, too. */
function Moving({ way }: { way: Way }) {
  const [t, setT] = useState(0);
  const [playing, setPlaying] = useState(moves);
  usePlay(playing, t, setT);
  const seen = useAnswer(async () => {
    const [z, told] = [along(way, [t]), toldAt(way.ends, t)];
    return { z, told, x: await backend.value.decode(z, 1, told) };
  }, [way, t]);
  return (
    <div class="moving">
      <Thing
        x={seen?.x ?? null}
        label={`${Math.round(100 * t)}% of the way from A to B`}
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
          aria-label="How far from A to B"
          onInput={(e) => {
            setPlaying(false);
            setT(e.currentTarget.valueAsNumber);
          }}
        />
        <output>{Math.round(100 * t)}%</output>
      </div>
      <button onClick={() => seen && toSliders(seen.z, seen.told)}>
        Send to sliders
      </button>
    </div>
  );
}

/** Whether things may move by themselves. */
function moves(): boolean {
  return !window.matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/** Go back and forth while it plays, from where it stands. */
function usePlay(playing: boolean, t: number, set: (t: number) => void): void {
  const place = useRef(t);
  place.current = t;
  useEffect(() => {
    if (!playing) return;
    const from = place.current;
    let [began, frame] = [0, 0];
    const tick = (now: number) => {
      began ||= now;
      set(swing(from + (now - began) / 1000 / SECONDS));
      frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
    return () => cancelAnimationFrame(frame);
  }, [playing]);
}

function Strip({ way }: { way: Way }) {
  const shares = Array.from({ length: STEPS }, (_, i) => i / (STEPS - 1));
  const seen = useAnswer(async () => {
    const codes = along(way, shares);
    const told = shares.map((t) => toldAt(way.ends, t));
    return { codes, told, x: await decodeTold(codes, told) };
  }, [way]);
  const d = way.ends.a.length;
  const action = (i: number) => `Put the step at ${Math.round(100 * shares[i])}% on the sliders`;
  const pick = (i: number) => {
    if (seen) toSliders(seen.codes.slice(i * d, (i + 1) * d), seen.told[i]);
  };
  const caption = (i: number) => `${Math.round(100 * shares[i])}%`;
  const Shown = manifest.value.item.kind === "table" ? StepTable : Sheet;
  return (
    <div class="steps">
      <Shown values={seen?.x ?? null} n={STEPS} caption={caption} action={action} pick={pick} />
    </div>
  );
}

/** Rows of a table step by step: a line for each column, so that one sees where it turns. */
function StepTable({ values, n, caption, action, pick }: SheetProps) {
  const each = useEach(values, n);
  const steps = Array.from({ length: n }, (_, i) => i);
  return (
    <table class="numbers">
      <caption class="unseen">The steps from A to B</caption>
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
              <td key={i}>{each ? cell(feature, each[i][j]) : "…"}</td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const NAMES = ["this", "that", "other"];

function Analogy({ known }: { known: Known }) {
  const n = manifest.value.rows!.n;
  const rows = useMemo(() => startingTerms(known, n), [known, n]).map((r, k) => terms.value[k] ?? r);
  const told = toldOf(known, rows[2]);
  const result = useAnswer(() => combine(rows, told), [...rows, told]);
  return (
    <section class="card">
      <h3>This − that + other</h3>
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
        What this has and that has not, put onto the other. Good is an answer that kept the rest of the other
        item. Take this and that alike but for one thing.
      </p>
    </section>
  );
}

type Combined = Awaited<ReturnType<typeof combine>>;

function Result({ result }: { result: Combined | null }) {
  const { classes } = manifest.value.model;
  return (
    <figure class="end">
      <Thing x={result?.x ?? null} label="this − that + other" small />
      <figcaption>
        <b>the model's answer</b>
        {classes && result && `, told ${toldName(result.told)}`}
      </figcaption>
      <button disabled={!result} onClick={() => toSliders(result!.z, result!.told)}>
        Send to sliders
      </button>
    </figure>
  );
}

function Nearest({ result, known }: { result: Combined | null; known: Known }) {
  if (!result) return null;
  return (
    <figure class="end">
      <RowThing row={result.near} small />
      <figcaption>
        nearest: {title(known, result.near)}, {number(result.distance, 2)} away
      </figcaption>
      <button onClick={() => showItem(result.near)}>Show it</button>
    </figure>
  );
}

/** An item of a sum, and the sign before it. */
function Term({ sign, children }: { sign: string; children: ComponentChildren }) {
  return (
    <div class="term">
      <span class="sign">{sign}</span>
      {children}
    </div>
  );
}

/** Three items to begin with, of different classes where these are known. */
function startingTerms(known: Known, n: number): number[] {
  const labels = labelsOf(known);
  const a = chosen.value;
  const b = otherRow(labels, n, a);
  return [a, b, otherRow(labels, n, (b + Math.floor(n / 3)) % n)];
}

/** The code of "this − that + other", decoded, and the item nearest to it that is none of the three. */
async function combine(rows: number[], told: Condition) {
  const { mean } = await backend.value.codes(rows);
  const d = mean.length / 3;
  const part = (k: number) => mean.subarray(k * d, (k + 1) * d);
  const z = analogy(part(0), part(1), part(2));
  const [x, found] = await Promise.all([
    backend.value.decode(z, 1, told),
    backend.value.neighbours(z, rows.length + 1),
  ]);
  const i = Math.max(0, found.rows.findIndex((r) => !rows.includes(r)));
  return { z, x, told, near: found.rows[i], distance: found.distances[i] };
}
