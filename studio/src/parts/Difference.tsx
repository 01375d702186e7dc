/** An item, what the model makes of it, and where the two differ. */

import { useMemo } from "preact/hooks";
import { manifest } from "../state";
import { Field, Thing } from "../Thing";
import { Overlay } from "./Overlay";
import "./parts.css";

interface Props {
  x: Float64Array | null;
  again: Float64Array | null;
  name: string;
}

export function Difference({ x, again, name }: Props) {
  const { kind } = manifest.value.item;
  if (kind === "picture") return <Pictures x={x} again={again} name={name} />;
  if (kind === "signal") return <Signals x={x} again={again} name={name} />;
  return <Thing x={x} beside={again} besideName="rebuilt" label={`${name}, beside what was rebuilt`} />;
}

function Pictures({ x, again, name }: Props) {
  const { low, high } = manifest.value.item;
  const off = useMemo(
    () => x && again && x.map((v, i) => (again[i] - v) / (high - low || 1)),
    [x, again],
  );
  return (
    <div class="trio">
      <figure>
        <Thing x={x} label={name} />
        <figcaption>Original</figcaption>
      </figure>
      <figure>
        <Thing x={again} label={`${name}, rebuilt`} />
        <figcaption>Rebuilt from its code</figcaption>
      </figure>
      <figure>
        {off ? <Field values={off} how="signed" label={`${name}, difference`} /> : <div class="picture" />}
        <figcaption>
          Difference: <b>red</b> too bright, <b>blue</b> too dark; pale all over is good
        </figcaption>
      </figure>
    </div>
  );
}

function Signals({ x, again, name }: Props) {
  const { low, high } = manifest.value.item;
  const middle = (low + high) / 2;
  const off = useMemo(() => x && again && x.map((v, i) => middle + again[i] - v), [x, again]);
  return (
    <div class="signals">
      <figure>
        <figcaption>Original</figcaption>
        <Thing x={x} label={name} />
      </figure>
      <figure>
        <figcaption>Rebuilt from its code</figcaption>
        <Thing x={again} label={`${name}, rebuilt`} />
      </figure>
      <figure>
        <figcaption>Both: the original in grey, rebuilt in colour; good is one line</figcaption>
        <Overlay behind={x} x={again} label={`${name}, original and rebuilt`} />
      </figure>
      <figure>
        <figcaption>Rebuilt − original, about zero in the middle; flat is good</figcaption>
        <Thing x={off} label={`${name}, difference`} small />
      </figure>
    </div>
  );
}
