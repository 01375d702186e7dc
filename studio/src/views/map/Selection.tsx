/** What can be done with selected items. */

import { useState } from "preact/hooks";
import { Thing, useAnswer } from "../../Thing";
import { attempt, attributes, backend, condition, lasso, manifest } from "../../state";
import { count, download } from "../../words";
import type { Ground } from "./ground";
import { means, table } from "./rows";

export function Selection({ ground }: { ground: Ground }) {
  const rows = lasso.value;
  const told = condition.value;
  const answer = useAnswer(async () => {
    if (!rows.length) return null;
    const mean = means(await backend.value.array("codes"), manifest.value.model.n_components, rows);
    return { rows, ...mean, x: await backend.value.decode(mean.inside, 1, told) };
  }, [rows, told]);
  if (!rows.length || !ground.points) return null;
  const save = async () => {
    const text = await attempt(table(backend.value, ground.points!, rows));
    if (text !== null) download(`${manifest.value.name}-selection.csv`, text);
  };
  return (
    <section class="card" aria-label="Selection">
      <h3>{count(rows.length)} {rows.length === 1 ? "item" : "items"} selected</h3>
      <Thing x={answer?.x ?? null} label="the mean of the selection, decoded" />
      <p class="soft">Decoded from the mean of their codes: what they have in common.</p>
      <div class="bar">
        <button onClick={() => void save()}>Export CSV</button>
        <button onClick={() => (lasso.value = new Int32Array())}>Clear</button>
      </div>
      {answer?.rows === rows && <Attribute inside={answer.inside} rest={answer.rest} />}
    </section>
  );
}

/** Name the way from the mean of the rest to the mean of the selection. */
function Attribute({ inside, rest }: { inside: Float32Array; rest: Float32Array | null }) {
  const [name, setName] = useState("");
  const [made, setMade] = useState("");
  if (!rest) return <p class="soft">All items are selected: select fewer to make an attribute vector.</p>;
  const make = (e: Event) => {
    e.preventDefault();
    const called = name.trim();
    if (!called) return;
    const vector = inside.map((v, j) => v - rest[j]);
    attributes.value = [...attributes.value.filter((a) => a.name !== called), { name: called, vector }];
    setMade(called);
    setName("");
  };
  return (
    <form onSubmit={make} class="attribute">
      <label>
        Make an attribute vector
        <input
          type="text"
          value={name}
          placeholder="its name"
          required
          onInput={(e) => setName(e.currentTarget.value)}
        />
      </label>
      <button type="submit">Make</button>
      <p class="soft" role="status">
        {made ? `“${made}” is kept: ` : "The way from the mean of all others to the mean of these."}
        {made && <a href="#sliders">try it on the sliders</a>}
      </p>
    </form>
  );
}
