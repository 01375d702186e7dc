/** Imputation of a table row: hidden columns with their imputed and original values. */

import { type Imputed } from "../imputation";
import { hiddenError, type Mask } from "../mask";
import type { Feature } from "../manifest";
import { backend, manifest } from "../state";
import { formatCell, formatNumber } from "../format";

interface Props {
  x: Float64Array | null;
  mask: Mask;
  imputed: Imputed | null;
  onToggle: (column: number) => void;
}

export function ImputeTable({ x, mask, imputed, onToggle }: Props) {
  const features = manifest.value.item.features ?? [];
  return (
    <>
      <div class="row card impute-table">
        <table class="impute-columns">
          <caption class="unseen">Columns with original and imputed values</caption>
          <thead>
            <tr>
              <th scope="col">Hide</th>
              <th scope="col">Original</th>
              <th scope="col">Imputed</th>
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
                <td>{x ? formatCell(feature, x[j]) : "…"}</td>
                <td>{imputed?.hidden[j] ? <ImputedValue feature={feature} j={j} imputed={imputed} /> : ""}</td>
                {backend.value.live && <td>{spread(feature, j, imputed)}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <Result imputed={imputed} />
    </>
  );
}

function ImputedValue({ feature, j, imputed }: { feature: Feature; j: number; imputed: Imputed }) {
  const [values, truth] = [imputed.values[j], imputed.x[j]];
  const wrong = feature.categories && !Number.isNaN(truth) && Math.round(values) !== truth;
  return wrong ? <span class="wrong">{formatCell(feature, values)} (wrong)</span> : <>{formatCell(feature, values)}</>;
}

/** The standard deviation of an imputed number; empty for categories. */
function spread(feature: Feature, j: number, imputed: Imputed | null): string {
  return imputed?.std && imputed.hidden[j] && !feature.categories ? `± ${formatNumber(imputed.std[j])}` : "";
}

function Result({ imputed }: { imputed: Imputed | null }) {
  const { features, scale } = manifest.value.item;
  if (!imputed?.hidden.includes(1))
    return <p class="impute-summary">Select columns to hide them. The model imputes their values.</p>;
  const numeric = imputed.hidden.map((v, j) => (features?.[j].categories ? 0 : v));
  const inUnits = (x: Float64Array) => x.map((v, j) => v / scale[j % scale.length]);
  const error = hiddenError(inUnits(imputed.values), inUnits(imputed.x), numeric);
  const guessed = [...imputed.hidden.keys()].filter(
    (j) => imputed.hidden[j] && features?.[j].categories && !Number.isNaN(imputed.x[j]),
  );
  const right = guessed.filter((j) => Math.round(imputed.values[j]) === imputed.x[j]).length;
  return (
    <p class="impute-summary">
      {guessed.length > 0 && `${right} of ${guessed.length} hidden categories correct. `}
      {!Number.isNaN(error) && (
        <>
          Root mean squared error of hidden numbers: <b>{formatNumber(Math.sqrt(error))}</b> standard deviations
          of the column; imputing the mean gives about 1.
        </>
      )}
    </p>
  );
}
