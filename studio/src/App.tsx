/** The page around the views: header, navigation, footer and error message. */

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { attempt, backend, selectedClass, go, manifest, errorMessage, view, type View } from "./state";
import { FindingList } from "./components/FindingList";
import { Anomalies } from "./views/Anomalies";
import { Impute } from "./views/Impute";
import { Interpolate } from "./views/Interpolate";
import { ItemView } from "./views/ItemView";
import { MapView } from "./views/MapView";
import { Samples } from "./views/Samples";
import { Sliders } from "./views/Sliders";
import { Training } from "./views/Training";
import { formatCount } from "./format";

interface Entry {
  name: string;
  what: string;
  show: ComponentType;
  /** What the view requires. */
  needs?: "rows" | "model";
}

const VIEWS: Record<View, Entry> = {
  map: { name: "Map", what: "The items in latent space, and what any position decodes to", show: MapView, needs: "model" },
  item: { name: "Item", what: "One item, its reconstruction and its code", show: ItemView, needs: "rows" },
  sliders: { name: "Sliders", what: "Change each latent and see the decoded result", show: Sliders, needs: "model" },
  interpolate: { name: "Interpolate", what: "A path in latent space from one item to another", show: Interpolate, needs: "rows" },
  samples: { name: "Samples", what: "New items drawn from the prior", show: Samples, needs: "model" },
  impute: { name: "Impute", what: "Hide part of an item and let the model fill it in", show: Impute, needs: "rows" },
  anomalies: { name: "Anomalies", what: "The items with the highest anomaly scores", show: Anomalies, needs: "rows" },
  training: { name: "Training", what: "Loss curves, held-out metrics and settings", show: Training },
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
  const notice = unavailable(entry);
  const { findings } = manifest.value;
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
        {findings && view.value === start() && <FindingList findings={findings} />}
        <p class="what">{entry.what}</p>
        {notice ? <p class="empty" role="status">{notice}</p> : <Show />}
      </main>
      <Footer />
      {errorMessage.value && (
        <div class="error-message" role="alert">
          <span>{errorMessage.value}</span>
          <button onClick={() => (errorMessage.value = "")}>Dismiss</button>
        </div>
      )}
    </>
  );
}

/** The view shown first: the map, or the training curves while there is no model. */
function start(): View {
  return manifest.value.arrays.points || manifest.value.map ? "map" : "training";
}

function unavailable(entry: Entry): string {
  const { model, rows, no_data_reason } = manifest.value;
  if (entry.needs && !model.n_components)
    return "The model is still training. This view becomes available when training finishes.";
  return entry.needs === "rows" && !rows ? (no_data_reason ?? "This view needs the data of the run, which is not available.") : "";
}

function Header() {
  const { title, model, rows, no_data_reason, notes } = manifest.value;
  return (
    <header>
      <div>
        <h1>{title}</h1>
        <p class="soft">
          {[
            model.n_components && `${model.n_components} ${model.n_components === 1 ? "latent" : "latents"}`,
            model.likelihood && `${model.likelihood} likelihood`,
            rows && `${formatCount(rows.n)} ${rows.n < rows.total ? `of ${formatCount(rows.total)} ` : ""}${rows.source}`,
          ]
            .filter(Boolean)
            .join(" · ")}
        </p>
        {!rows && no_data_reason && <p class="note">{no_data_reason}</p>}
        {notes.map((note) => (
          <p class="note" key={note}>
            {note}
          </p>
        ))}
      </div>
      {model.classes && <ClassSelect classes={model.classes} />}
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

/** Choose the class that conditions the decoder in all views. */
function ClassSelect({ classes }: { classes: string[] }) {
  return (
    <label class="class-select">
      Decode as class{" "}
      <select
        value={selectedClass.value ?? ""}
        onChange={(e) => {
          const value = e.currentTarget.value;
          selectedClass.value = value === "" ? null : Number(value);
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

/** Shown if the run cannot be opened. */
export function Failure({ message }: { message: string }) {
  return (
    <main>
      <h1>The studio could not be opened</h1>
      <p role="alert">{message}</p>
    </main>
  );
}
