/** The selected items: their mean, export and attribute vectors. */

import { useState } from "preact/hooks";
import { SampleView, useQuery } from "../../SampleView";
import { attempt, attributes, backend, selectedClass, lasso, manifest } from "../../state";
import { formatCount, download } from "../../format";
import type { MapData } from "./mapData";
import { means, table } from "./selectedRows";

export function Selection({ mapData }: { mapData: MapData }) {
  const rows = lasso.value;
  const condition = selectedClass.value;
  const mean = useQuery(async () => {
    if (!rows.length) return null;
    const mean = means(await backend.value.array("codes"), manifest.value.model.n_components, rows);
    return { rows, ...mean, x: await backend.value.decode(mean.inside, 1, condition) };
  }, [rows, condition]);
  if (!rows.length || !mapData.points) return null;
  const save = async () => {
    const text = await attempt(table(backend.value, mapData.points!, rows));
    if (text !== null) download(`${manifest.value.name}-selection.csv`, text);
  };
  return (
    <section class="card" aria-label="Selection">
      <h3>{formatCount(rows.length)} {rows.length === 1 ? "item" : "items"} selected</h3>
      <SampleView x={mean?.x ?? null} label="decoded mean of the selection" />
      <p class="soft">Decoded from the mean of the selected codes.</p>
      <div class="bar">
        <button onClick={() => void save()}>Export CSV</button>
        <button onClick={() => (lasso.value = new Int32Array())}>Clear</button>
      </div>
      {mean?.rows === rows && <Attribute inside={mean.inside} rest={mean.rest} />}
    </section>
  );
}

/** Create an attribute vector: the mean of the selection minus the mean of all other items. */
function Attribute({ inside, rest }: { inside: Float32Array; rest: Float32Array | null }) {
  const [name, setName] = useState("");
  const [created, setCreated] = useState("");
  if (!rest) return <p class="soft">All items are selected. Select fewer to create an attribute vector.</p>;
  const create = (e: Event) => {
    e.preventDefault();
    const trimmed = name.trim();
    if (!trimmed) return;
    const vector = inside.map((v, j) => v - rest[j]);
    attributes.value = [...attributes.value.filter((a) => a.name !== trimmed), { name: trimmed, vector }];
    setCreated(trimmed);
    setName("");
  };
  return (
    <form onSubmit={create} class="attribute">
      <label>
        New attribute vector
        <input
          type="text"
          value={name}
          placeholder="Name"
          required
          onInput={(e) => setName(e.currentTarget.value)}
        />
      </label>
      <button type="submit">Create</button>
      <p class="soft" role="status">
        {created ? `Created “${created}”: ` : "The mean code of the selection minus that of all other items."}
        {created && <a href="#sliders">use it in Sliders</a>}
      </p>
    </form>
  );
}
