/** Comparison of runs: held-out metrics, training time and settings. */

import { useState } from "preact/hooks";
import { comparable, effortOf, heldOutOf, type ComparisonRow, settingsOf } from "../curves";
import type { Run } from "../manifest";
import { colourOf } from "./runColours";

export function HeldOut({ runs }: { runs: Run[] }) {
  const [held, effort] = [heldOutOf(runs), effortOf(runs)];
  return (
    <section class="card" aria-label="Held-out metrics">
      <h3>Held-out metrics</h3>
      {held.length ? (
        <>
          <p class="soft">
            ELBO and log-likelihood: higher is better. Errors: lower is better, with PCA of the same number
            of components as the baseline.
          </p>
          {!comparable(runs) && (
            <p class="note">These runs differ in data or likelihood, so their metrics are not comparable.</p>
          )}
          <Lines runs={runs} lines={held} name="Held-out metrics" />
        </>
      ) : (
        <p class="soft">No held-out metrics were recorded{runs.some((r) => r.training) ? " yet" : ""}.</p>
      )}
      <h3 class="next">Training effort</h3>
      <Lines runs={runs} lines={effort} name="Epochs and time" />
    </section>
  );
}

export function Settings({ runs }: { runs: Run[] }) {
  const [only, setOnly] = useState(false);
  const lines = settingsOf(runs);
  const many = runs.length > 1;
  const differing = lines.filter((l) => l.differs);
  return (
    <section class="card" aria-label="Settings">
      <div class="bar">
        <h3>Settings</h3>
        {many && (
          <label class="push">
            <input type="checkbox" checked={only} onChange={(e) => setOnly(e.currentTarget.checked)} />{" "}
            differences only
          </label>
        )}
      </div>
      {many && (
        <p class="soft">
          {differing.length
            ? "Settings that differ come first and are highlighted."
            : "The runs have the same settings."}
        </p>
      )}
      {many ? (
        <Lines runs={runs} lines={only ? differing : lines} name="Settings" tinted />
      ) : (
        <dl class="pairs">
          {lines.map(({ name, texts }) => (
            <div key={name}>
              <dt>{name.replaceAll("_", " ")}</dt>
              <dd>{texts[0]}</dd>
            </div>
          ))}
        </dl>
      )}
    </section>
  );
}

/** A table with one column per run. */
function Lines(props: { runs: Run[]; lines: ComparisonRow[]; name: string; tinted?: boolean }) {
  const { runs, lines, name, tinted } = props;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label={`${name}, scrollable`}>
      <table class="numbers beside">
        <caption class="unseen">{name}</caption>
        {runs.length > 1 && (
          <thead>
            <tr>
              <th scope="col">
                <span class="unseen">name</span>
              </th>
              {runs.map((run) => (
                <th scope="col" key={run.name}>
                  <span class="run-swatch" style={{ background: colourOf(runs, run) }} />
                  {run.name}
                </th>
              ))}
            </tr>
          </thead>
        )}
        <tbody>
          {lines.map((line) => (
            <tr key={line.name} class={tinted && line.differs ? "differs" : undefined}>
              <th scope="row">{line.name.replaceAll("_", " ")}</th>
              {line.texts.map((text, i) => (
                <td key={runs[i].name} class={line.best.includes(i) ? "winner" : undefined}>
                  {text ?? "–"}
                  {line.best.includes(i) && <span class="tag">best</span>}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
