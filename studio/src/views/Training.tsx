/** Training of one or several runs: curves, rate-distortion plane, metrics and settings. */

import { useEffect, useState } from "preact/hooks";
import { duration, lastEpoch, secondsLeft, diagnose } from "../curves";
import type { Run } from "../manifest";
import { useDark } from "../theme";
import { backend, manifest } from "../state";
import { formatCount } from "../format";
import { Curves } from "./Curves";
import { RateDistortion } from "./RateDistortion";
import { colourOf } from "./runColours";
import { HeldOut, Settings } from "./RunComparison";
import "./Training.css";

const SIDE_BY_SIDE = 2; // number of runs that fit into half the page width
const POLL_INTERVAL = 1000; // polling interval of a run in training, in milliseconds
const RETRY_INTERVAL = 5000; // polling interval after a failed request

export function Training() {
  const { runs, connectionError } = useRuns();
  useDark(); // run colours depend on the colour scheme
  const finished = runs.filter(
    (run) => !run.training && manifest.value.runs.some((old) => old.name === run.name && old.training),
  );
  if (!runs.length) return <p class="empty" role="status">No training history is available.</p>;
  return (
    <div class="training">
      {finished.length > 0 && (
        <div class="card done" role="status">
          <span>Training of {finished.map((run) => run.name).join(", ")} has finished. Reload to open the model.</span>
          <button class="main" onClick={() => window.location.reload()}>
            Reload
          </button>
        </div>
      )}
      {connectionError && <p class="note" role="status">{connectionError} Retrying…</p>}
      <ul class="diagnoses">
        {runs.map((run) => (
          <Diagnosis key={run.name} run={run} runs={runs} />
        ))}
      </ul>
      <Curves runs={runs} />
      <div class={runs.length > SIDE_BY_SIDE ? "one" : "two"}>
        <RateDistortion runs={runs} />
        <HeldOut runs={runs} />
      </div>
      <Settings runs={runs} />
    </div>
  );
}

/** The runs, polled while one is in training. */
function useRuns(): { runs: Run[]; connectionError: string } {
  const [runs, setRuns] = useState(manifest.value.runs);
  const [connectionError, setConnectionError] = useState("");
  useEffect(() => {
    if (!backend.value.live) return;
    let timer = 0;
    let alive = true;
    const poll = async () => {
      let delay = POLL_INTERVAL;
      let training = true;
      try {
        const now = await backend.value.runs();
        if (!alive) return;
        setRuns(now);
        setConnectionError("");
        training = now.some((run) => run.training);
      } catch (error) {
        if (!alive) return;
        setConnectionError(error instanceof Error ? error.message : String(error));
        delay = RETRY_INTERVAL;
      }
      if (training) timer = window.setTimeout(poll, delay);
    };
    void poll();
    return () => {
      alive = false;
      window.clearTimeout(timer);
    };
  }, []);
  return { runs, connectionError };
}

/** The progress of a run and the diagnosis of its curves. */
function Diagnosis({ run, runs }: { run: Run; runs: Run[] }) {
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
          training: epoch {formatCount(done)}
          {run.epochs !== null && ` of at most ${formatCount(run.epochs)}`}
          {left !== null && `, at most ${duration(left)} left`}
          {run.epochs !== null && (
            <progress max={run.epochs} value={done} aria-label={`${run.name}: completed epochs`} />
          )}
        </span>
      )}
      {diagnose(run).map(({ text, problem }) => (
        <span key={text} class={problem ? "note" : undefined}>
          {" "}
          {text}
        </span>
      ))}
    </li>
  );
}
