/** How it was learned: curves, rate and distortion, numbers and settings of one or several runs. */

import { useEffect, useState } from "preact/hooks";
import { duration, lastEpoch, secondsLeft, verdicts } from "../curves";
import type { Run } from "../manifest";
import { useDark } from "../scheme";
import { backend, manifest } from "../state";
import { count } from "../words";
import { Curves } from "./Curves";
import { RateDistortion } from "./RateDistortion";
import { colourOf } from "./runColours";
import { HeldOut, Settings } from "./SideBySide";
import "./Training.css";

const WIDE = 2; // runs whose numbers fit into half a page
const PACE = 1000; // milliseconds between two looks at a run that trains
const PATIENCE = 5000; // and after one that failed

export function Training() {
  const { runs, lost } = useRuns();
  useDark(); // the colours of runs follow the page's
  const finished = runs.filter(
    (run) => !run.training && manifest.value.runs.some((old) => old.name === run.name && old.training),
  );
  if (!runs.length) return <p class="empty" role="status">No history of training was kept.</p>;
  return (
    <div class="training">
      {finished.length > 0 && (
        <div class="card done" role="status">
          <span>{finished.map((run) => run.name).join(", ")}: done. Reload to see its model.</span>
          <button class="main" onClick={() => window.location.reload()}>
            Reload
          </button>
        </div>
      )}
      {lost && <p class="note" role="status">{lost} Asking again…</p>}
      <ul class="verdicts">
        {runs.map((run) => (
          <Verdict key={run.name} run={run} runs={runs} />
        ))}
      </ul>
      <Curves runs={runs} />
      <div class={runs.length > WIDE ? "one" : "two"}>
        <RateDistortion runs={runs} />
        <HeldOut runs={runs} />
      </div>
      <Settings runs={runs} />
    </div>
  );
}

/** The runs, asked for again and again while one trains. */
function useRuns(): { runs: Run[]; lost: string } {
  const [runs, setRuns] = useState(manifest.value.runs);
  const [lost, setLost] = useState("");
  useEffect(() => {
    if (!backend.value.live) return;
    let timer = 0;
    let alive = true;
    const look = async () => {
      let pause = PACE;
      let going = true;
      try {
        const now = await backend.value.runs();
        if (!alive) return;
        setRuns(now);
        setLost("");
        going = now.some((run) => run.training);
      } catch (error) {
        if (!alive) return;
        setLost(error instanceof Error ? error.message : String(error));
        pause = PATIENCE;
      }
      if (going) timer = window.setTimeout(look, pause);
    };
    void look();
    return () => {
      alive = false;
      window.clearTimeout(timer);
    };
  }, []);
  return { runs, lost };
}

/** Where a run stands, and what its curves say. */
function Verdict({ run, runs }: { run: Run; runs: Run[] }) {
  const left = secondsLeft(run);
  const done = lastEpoch(run);
  return (
    <li>
      <span class="run-swatch" style={{ background: colourOf(runs, run) }} />
      <strong>{run.name}</strong>
      {run.model && <span class="soft"> {run.model}</span>}
      {run.training && (
        <span class="live">
          {" "}
          training: epoch {count(done)}
          {run.epochs !== null && ` of ${count(run.epochs)} at most`}
          {left !== null && `, ${duration(left)} left at most`}
          {run.epochs !== null && (
            <progress max={run.epochs} value={done} aria-label={`${run.name}: epochs done`} />
          )}
        </span>
      )}
      {verdicts(run).map(({ text, worry }) => (
        <span key={text} class={worry ? "note" : undefined}>
          {" "}
          {text}
        </span>
      ))}
    </li>
  );
}
