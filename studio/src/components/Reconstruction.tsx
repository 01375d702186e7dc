/** An item, its reconstruction and the difference. */

import { useMemo } from "preact/hooks";
import { manifest } from "../state";
import { Field, SampleView } from "../SampleView";
import { SignalOverlay } from "./SignalOverlay";
import "./components.css";

interface Props {
  x: Float64Array | null;
  reconstruction: Float64Array | null;
  name: string;
}

export function Reconstruction({ x, reconstruction, name }: Props) {
  const { kind } = manifest.value.item;
  if (kind === "image") return <Images x={x} reconstruction={reconstruction} name={name} />;
  if (kind === "signal") return <Signals x={x} reconstruction={reconstruction} name={name} />;
  return <SampleView x={x} beside={reconstruction} besideName="reconstruction" label={`${name} and its reconstruction`} />;
}

function Images({ x, reconstruction, name }: Props) {
  const { low, high } = manifest.value.item;
  const difference = useMemo(
    () => x && reconstruction && x.map((v, i) => (reconstruction[i] - v) / (high - low || 1)),
    [x, reconstruction],
  );
  return (
    <div class="trio">
      <figure>
        <SampleView x={x} label={name} />
        <figcaption>Original</figcaption>
      </figure>
      <figure>
        <SampleView x={reconstruction} label={`${name}, reconstruction`} />
        <figcaption>Reconstruction</figcaption>
      </figure>
      <figure>
        {difference ? <Field values={difference} how="signed" label={`${name}, difference`} /> : <div class="image" />}
        <figcaption>
          Difference: <b>red</b> is too bright, <b>blue</b> too dark
        </figcaption>
      </figure>
    </div>
  );
}

function Signals({ x, reconstruction, name }: Props) {
  const { low, high } = manifest.value.item;
  const middle = (low + high) / 2;
  const difference = useMemo(() => x && reconstruction && x.map((v, i) => middle + reconstruction[i] - v), [x, reconstruction]);
  return (
    <div class="signals">
      <figure>
        <figcaption>Original</figcaption>
        <SampleView x={x} label={name} />
      </figure>
      <figure>
        <figcaption>Reconstruction</figcaption>
        <SampleView x={reconstruction} label={`${name}, reconstruction`} />
      </figure>
      <figure>
        <figcaption>SignalOverlay: original in grey, reconstruction in colour</figcaption>
        <SignalOverlay behind={x} x={reconstruction} label={`${name}, original and reconstruction`} />
      </figure>
      <figure>
        <figcaption>Reconstruction − original, zero in the middle</figcaption>
        <SampleView x={difference} label={`${name}, difference`} small />
      </figure>
    </div>
  );
}
