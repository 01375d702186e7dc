/** The frame: what run this is, the eight views, and what went wrong. */

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { attempt, backend, condition, go, manifest, trouble, view, type View } from "./state";
import { Anomalies } from "./views/Anomalies";
import { Between } from "./views/Between";
import { ItemView } from "./views/ItemView";
import { MapView } from "./views/MapView";
import { Repair } from "./views/Repair";
import { Samples } from "./views/Samples";
import { Sliders } from "./views/Sliders";
import { Training } from "./views/Training";
import { count } from "./words";

interface Entry {
  name: string;
  what: string;
  show: ComponentType;
  /** What the view cannot do without. */
  needs?: "rows" | "model";
}

const VIEWS: Record<View, Entry> = {
  map: { name: "Map", what: "Where items lie, and what the land between them decodes to", show: MapView, needs: "model" },
  item: { name: "Item", what: "One item, and what the model makes of it", show: ItemView, needs: "rows" },
  sliders: { name: "Sliders", what: "Move the latents, and watch", show: Sliders, needs: "model" },
  between: { name: "Between", what: "The way from one item to another", show: Between, needs: "rows" },
  samples: { name: "Samples", what: "New items, drawn from the prior", show: Samples, needs: "model" },
  repair: { name: "Repair", what: "Paint over a part; the model fills it in", show: Repair, needs: "rows" },
  anomalies: { name: "Anomalies", what: "The items the model finds strangest", show: Anomalies, needs: "rows" },
  training: { name: "Training", what: "How it was learned", show: Training },
};

export function App() {
  useEffect(() => {
    const follow = () => {
      const named = window.location.hash.slice(1);
      view.value = Object.hasOwn(VIEWS, named) ? (named as View) : start();
    };
    follow();
    window.addEventListener("hashchange", follow);
    return () => window.removeEventListener("hashchange", follow);
  }, []);
  const entry = VIEWS[view.value];
  const Show = entry.show;
  const lacks = lacking(entry);
  return (
    <>
      <Header />
      <nav aria-label="Views">
        {Object.entries(VIEWS).map(([key, each]) => (
          <a
            key={key}
            href={`#${key}`}
            aria-current={key === view.value ? "page" : undefined}
            onClick={() => go(key as View)}
          >
            {each.name}
          </a>
        ))}
      </nav>
      <main id="view" aria-label={entry.name} key={view.value}>
        <h2 class="unseen">{entry.name}</h2>
        <p class="what">{entry.what}</p>
        {lacks ? <p class="empty" role="status">{lacks}</p> : <Show />}
      </main>
      <Footer />
      {trouble.value && (
        <div class="trouble" role="alert">
          <span>{trouble.value}</span>
          <button onClick={() => (trouble.value = "")}>Dismiss</button>
        </div>
      )}
    </>
  );
}

/** The first view of a run: its map, or its curves while there is no model. */
function start(): View {
  return manifest.value.arrays.points || manifest.value.map ? "map" : "training";
}

function lacking(entry: Entry): string {
  const { model, rows, missing } = manifest.value;
  if (entry.needs && !model.n_components)
    return "The model is still being trained: this view opens when it is done.";
  return entry.needs === "rows" && !rows ? (missing ?? "This run is shown without its data.") : "";
}

function Header() {
  const { title, model, rows, missing, notes } = manifest.value;
  return (
    <header>
      <div>
        <h1>{title}</h1>
        <p class="soft">
          {[
            model.n_components && `${model.n_components} latent ${model.n_components === 1 ? "number" : "numbers"}`,
            model.likelihood && `${model.likelihood} likelihood`,
            rows && `${count(rows.n)} ${rows.n < rows.of ? `of ${count(rows.of)} ` : ""}${rows.source}`,
          ]
            .filter(Boolean)
            .join(" · ")}
        </p>
        {!rows && missing && <p class="note">{missing}</p>}
        {notes.map((note) => (
          <p class="note" key={note}>
            {note}
          </p>
        ))}
      </div>
      {model.classes && <Told classes={model.classes} />}
    </header>
  );
}

function Footer() {
  const [licences, setLicences] = useState("");
  const [shown, setShown] = useState(false);
  const show = async () => {
    if (!licences) setLicences((await attempt(backend.value.licences())) ?? "");
    setShown(!shown);
  };
  return (
    <footer class="soft">
      isthmus {manifest.value.version} ·{" "}
      <button class="plain" aria-expanded={shown} onClick={() => void show()}>
        Licences
      </button>
      {shown && <pre tabIndex={0}>{licences}</pre>}
    </footer>
  );
}

/** What a conditional model is told wherever a code is decoded. */
function Told({ classes }: { classes: string[] }) {
  return (
    <label class="told">
      Class the decoder is told{" "}
      <select
        value={condition.value ?? ""}
        onChange={(e) => {
          const value = e.currentTarget.value;
          condition.value = value === "" ? null : Number(value);
        }}
      >
        <option value="">unknown</option>
        {classes.map((name, k) => (
          <option key={k} value={k}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}

/** Shown where nothing could be opened. */
export function Failure({ message }: { message: string }) {
  return (
    <main>
      <h1>The studio could not open</h1>
      <p role="alert">{message}</p>
    </main>
  );
}
