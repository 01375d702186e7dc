/** New items drawn from the prior. */

import { useMemo, useState } from "preact/hooks";
import type { Condition } from "../backend";
import { decodeWithConditions } from "../components/labels";
import { drawCodes, newSeed, priorInWords, whyNoPrior } from "../components/prior";
import { SampleGrid } from "../components/SampleGrid";
import { backend, selectedClass, manifest, toSliders } from "../state";
import { useQuery } from "../SampleView";
import "./Samples.css";

const SIZES = [12, 24, 48, 96];
const PER_CLASS = 8; // samples per class
const MOST = 24; // maximum number of classes shown

export function Samples() {
  if (!manifest.value.prior) return <p class="empty">{whyNoPrior()}</p>;
  return <SampleSheet />;
}

function SampleSheet() {
  const { classes } = manifest.value.model;
  const [n, setN] = useState(24);
  const [seed, setSeed] = useState(0);
  const [temperature, setTemperature] = useState(1);
  const [byClass, setByClass] = useState(false);
  return (
    <>
      <div class="bar">
        <button class="main" onClick={() => setSeed(newSeed())}>
          New samples
        </button>
        <label>
          Seed
          <input
            type="number"
            min={0}
            value={seed}
            onInput={(e) => {
              const typed = e.currentTarget.valueAsNumber;
              if (typed >= 0) setSeed(Math.floor(typed));
            }}
          />
        </label>
        <label class="temperature">
          Temperature
          <input
            type="range"
            min={0}
            max={2}
            step={0.05}
            value={temperature}
            onInput={(e) => setTemperature(e.currentTarget.valueAsNumber)}
            onDblClick={() => setTemperature(1)}
          />
          <output>{temperature.toFixed(2)}</output>
        </label>
        {!byClass && (
          <label>
            Show
            <select value={n} onChange={(e) => setN(Number(e.currentTarget.value))}>
              {SIZES.map((size) => (
                <option key={size}>{size}</option>
              ))}
            </select>
          </label>
        )}
        {classes && (
          <button aria-pressed={byClass} onClick={() => setByClass(!byClass)}>
            One row per class
          </button>
        )}
      </div>
      <section class="card">
        {manifest.value.item.kind === "table" && <RowsInWords />}
        {byClass && classes ? (
          <Classes classes={classes} temperature={temperature} seed={seed} />
        ) : (
          <Draws n={n} temperature={temperature} seed={seed} />
        )}
        <p class="soft samples-words">
          {priorInWords()} Good samples resemble the data and are diverse. A temperature below 1 gives more
          typical, less diverse samples; above 1, samples become more diverse and less realistic. The same
          seed gives the same samples. Click a sample to send it to the sliders.
        </p>
      </section>
    </>
  );
}

/** Say whether the rows of a table are means or draws. */
function RowsInWords() {
  if (backend.value.live) return <p class="soft">These rows are draws from p(x|z).</p>;
  return (
    <p class="note">
      These rows are means of p(x|z), not draws, and vary less than data. The live studio and isthmus sample draw rows.
    </p>
  );
}

interface Sampling {
  temperature: number;
  seed: number;
}

/** Draw and decode; codes and items are updated together, so that a click sends the visible sample. */
async function drawSamples(n: number, { temperature, seed }: Sampling, condition: Condition) {
  const codes = await drawCodes(n, temperature, seed, condition);
  return { codes, n, condition, x: await backend.value.decode(codes, n, condition, seed) };
}

function Draws({ n, temperature, seed }: Sampling & { n: number }) {
  const condition = selectedClass.value;
  const samples = useQuery(() => drawSamples(n, { temperature, seed }, condition), [n, temperature, seed, condition]);
  return (
    <SampleGrid
      values={samples?.x ?? null}
      n={samples?.n ?? n}
      caption={() => ""}
      action={(i) => `Send sample ${i + 1} to the sliders`}
      pick={(i) => samples && toSliders(codeAt(samples.codes, i), samples.condition)}
    />
  );
}

function Classes({ classes, temperature, seed }: Sampling & { classes: string[] }) {
  const shown = classes.slice(0, MOST);
  const samples = useQuery(async () => {
    const condition = shown.flatMap((_, k) => Array<Condition>(PER_CLASS).fill(k));
    const codes = await drawEach(shown.length, { temperature, seed });
    return { codes, x: await decodeWithConditions(codes, condition, seed) };
  }, [temperature, seed]);
  const parts = useMemo(() => {
    if (!samples) return null;
    const size = samples.x.length / shown.length;
    return shown.map((_, k) => samples.x.subarray(k * size, (k + 1) * size));
  }, [samples]);
  return (
    <>
      <div class="by-class">
        {shown.map((name, k) => (
          <section key={k} aria-label={`Class ${name}`}>
            <h3>{name}</h3>
            <SampleGrid
              values={parts?.[k] ?? null}
              n={PER_CLASS}
              caption={() => ""}
              action={(i) => `Send sample ${i + 1} of class ${name} to the sliders`}
              pick={(i) => samples && toSliders(codeAt(samples.codes, k * PER_CLASS + i), k)}
            />
          </section>
        ))}
      </div>
      <p class="soft">
        {manifest.value.prior?.kind === "standard" &&
          "Each column decodes one code with every class: the style should stay, the class should change. "}
        {shown.length < classes.length && `Showing the first ${shown.length} of ${classes.length} classes.`}
      </p>
    </>
  );
}

/** Codes for each class, with the same noise in all classes. */
async function drawEach(classes: number, { temperature, seed }: Sampling): Promise<Float32Array> {
  const d = manifest.value.model.n_components;
  const out = new Float32Array(classes * PER_CLASS * d);
  for (let k = 0; k < classes; k++) out.set(await drawCodes(PER_CLASS, temperature, seed, k), k * PER_CLASS * d);
  return out;
}

function codeAt(codes: Float32Array, i: number): Float32Array {
  const d = manifest.value.model.n_components;
  return codes.slice(i * d, (i + 1) * d);
}
