/** New items, drawn from the prior. */

import { useMemo, useState } from "preact/hooks";
import type { Condition } from "../backend";
import { decodeTold } from "../parts/labels";
import { drawCodes, newSeed, priorInWords, whyNoPrior } from "../parts/prior";
import { Sheet } from "../parts/Sheet";
import { backend, condition, manifest, toSliders } from "../state";
import { useAnswer } from "../Thing";
import "./Samples.css";

const SIZES = [12, 24, 48, 96];
const EACH = 8; // draws of a class
const MOST = 24; // classes shown

export function Samples() {
  if (!manifest.value.prior) return <p class="empty">{whyNoPrior()}</p>;
  return <Drawn />;
}

function Drawn() {
  const { classes } = manifest.value.model;
  const [n, setN] = useState(24);
  const [seed, setSeed] = useState(0);
  const [temperature, setTemperature] = useState(1);
  const [byClass, setByClass] = useState(false);
  return (
    <>
      <div class="bar">
        <button class="main" onClick={() => setSeed(newSeed())}>
          New draw
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
            One row a class
          </button>
        )}
      </div>
      <section class="card">
        {byClass && classes ? (
          <Classes classes={classes} temperature={temperature} seed={seed} />
        ) : (
          <Draws n={n} temperature={temperature} seed={seed} />
        )}
        <p class="soft samples-words">
          {priorInWords()} Good samples look like the data and differ from one another. Below 1 the
          temperature keeps to the middle, where samples are typical and alike; above 1 it shows where the
          model breaks. The same seed gives the same draw. Click one to put it on the sliders.
        </p>
      </section>
    </>
  );
}

interface How {
  temperature: number;
  seed: number;
}

/** Draw and decode; codes and items arrive together so that a click sends what is seen. */
async function make(n: number, { temperature, seed }: How, told: Condition) {
  const codes = await drawCodes(n, temperature, seed, told);
  return { codes, n, told, x: await backend.value.decode(codes, n, told) };
}

function Draws({ n, temperature, seed }: How & { n: number }) {
  const told = condition.value;
  const made = useAnswer(() => make(n, { temperature, seed }, told), [n, temperature, seed, told]);
  return (
    <Sheet
      values={made?.x ?? null}
      n={made?.n ?? n}
      caption={() => ""}
      action={(i) => `Put sample ${i + 1} on the sliders`}
      pick={(i) => made && toSliders(codeAt(made.codes, i), made.told)}
    />
  );
}

function Classes({ classes, temperature, seed }: How & { classes: string[] }) {
  const shown = classes.slice(0, MOST);
  const made = useAnswer(async () => {
    const told = shown.flatMap((_, k) => Array<Condition>(EACH).fill(k));
    const codes = await drawEach(shown.length, { temperature, seed });
    return { codes, x: await decodeTold(codes, told) };
  }, [temperature, seed]);
  const parts = useMemo(() => {
    if (!made) return null;
    const size = made.x.length / shown.length;
    return shown.map((_, k) => made.x.subarray(k * size, (k + 1) * size));
  }, [made]);
  return (
    <>
      <div class="by-class">
        {shown.map((name, k) => (
          <section key={k} aria-label={`Class ${name}`}>
            <h3>{name}</h3>
            <Sheet
              values={parts?.[k] ?? null}
              n={EACH}
              caption={() => ""}
              action={(i) => `Put sample ${i + 1} of class ${name} on the sliders`}
              pick={(i) => made && toSliders(codeAt(made.codes, k * EACH + i), k)}
            />
          </section>
        ))}
      </div>
      <p class="soft">
        {manifest.value.prior?.kind === "standard" &&
          "A column has one code, told another class in each row: the style should stay, the class change. "}
        {shown.length < classes.length && `These are the first ${shown.length} of ${classes.length} classes.`}
      </p>
    </>
  );
}

/** A row of codes for each class, the same noise in all. */
async function drawEach(classes: number, { temperature, seed }: How): Promise<Float32Array> {
  const d = manifest.value.model.n_components;
  const out = new Float32Array(classes * EACH * d);
  for (let k = 0; k < classes; k++) out.set(await drawCodes(EACH, temperature, seed, k), k * EACH * d);
  return out;
}

function codeAt(codes: Float32Array, i: number): Float32Array {
  const d = manifest.value.model.n_components;
  return codes.slice(i * d, (i + 1) * d);
}
