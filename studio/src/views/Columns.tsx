/** Repair of a row of a table: columns hidden by a tick, filled in beside the truth. */

import { type Filled } from "../completion";
import { hiddenError, type Mask } from "../brush";
import type { Feature } from "../manifest";
import { backend, manifest } from "../state";
import { cell, number } from "../words";

interface Props {
  x: Float64Array | null;
  mask: Mask;
  filled: Filled | null;
  onToggle: (column: number) => void;
}

export function Columns({ x, mask, filled, onToggle }: Props) {
  const features = manifest.value.item.features ?? [];
  return (
    <>
      <div class="row card repair-table">
        <table class="repair-columns">
          <caption class="unseen">Columns, and what the model fills in for those that are hidden</caption>
          <thead>
            <tr>
              <th scope="col">Hide a column</th>
              <th scope="col">Original</th>
              <th scope="col">Completed</th>
              {backend.value.live && <th scope="col">Std</th>}
            </tr>
          </thead>
          <tbody>
            {features.map((feature, j) => (
              <tr key={j} class={mask[j] ? "hidden" : undefined}>
                <th scope="row">
                  <label>
                    <input type="checkbox" checked={Boolean(mask[j])} onChange={() => onToggle(j)} />
                    {feature.name}
                  </label>
                </th>
                <td>{x ? cell(feature, x[j]) : "…"}</td>
                <td>{filled?.hidden[j] ? <Guess feature={feature} j={j} filled={filled} /> : ""}</td>
                {backend.value.live && <td>{spread(feature, j, filled)}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Result filled={filled} />
    </>
  );
}

function Guess({ feature, j, filled }: { feature: Feature; j: number; filled: Filled }) {
  const [made, truth] = [filled.made[j], filled.x[j]];
  const wrong = feature.categories && !Number.isNaN(truth) && Math.round(made) !== truth;
  return wrong ? <span class="wrong">{cell(feature, made)} (wrong)</span> : <>{cell(feature, made)}</>;
}

/** Of a category a standard deviation says nothing. */
function spread(feature: Feature, j: number, filled: Filled | null): string {
  return filled?.std && filled.hidden[j] && !feature.categories ? `± ${number(filled.std[j])}` : "";
}

function Result({ filled }: { filled: Filled | null }) {
  const { features, scale } = manifest.value.item;
  if (!filled?.hidden.includes(1))
    return <p class="repair-words">Nothing is hidden: tick a column, and the model fills it in.</p>;
  const numeric = filled.hidden.map((v, j) => (features?.[j].categories ? 0 : v));
  const inUnits = (x: Float64Array) => x.map((v, j) => v / scale[j % scale.length]);
  const error = hiddenError(inUnits(filled.made), inUnits(filled.x), numeric);
  const guessed = [...filled.hidden.keys()].filter(
    (j) => filled.hidden[j] && features?.[j].categories && !Number.isNaN(filled.x[j]),
  );
  const right = guessed.filter((j) => Math.round(filled.made[j]) === filled.x[j]).length;
  return (
    <p class="repair-words">
      {guessed.length > 0 && `${right} of ${guessed.length} hidden categories right. `}
      {!Number.isNaN(error) && (
        <>
          Typical error of a hidden number: <b>{number(Math.sqrt(error))}</b> standard deviations of its
          column; guessing the mean has about 1.
        </>
      )}
    </p>
  );
}
