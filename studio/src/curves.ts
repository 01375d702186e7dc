/** Analysis of the histories, settings and held-out metrics of runs. */

import type { Run } from "./manifest";
import { formatNumber } from "./format";

export interface Quantity {
  key: string;
  name: string;
  unit: string;
  /** What it measures, and how to read it. */
  description: string;
}

const QUANTITIES: Quantity[] = [
  {
    key: "loss",
    name: "Loss",
    unit: "nats per example",
    description:
      "The training objective: the sum of reconstruction, KL and penalty. " +
      "Ideally both curves fall and level off together.",
  },
  {
    key: "reconstruction",
    name: "Reconstruction",
    unit: "nats per example",
    description: "Reconstruction error, −log p(x|z). Lower means closer to the original.",
  },
  {
    key: "kl",
    name: "KL",
    unit: "nats per example",
    description:
      "KL divergence of q(z|x) from the prior: the information in the codes. " +
      "A value near 0 indicates posterior collapse.",
  },
  {
    key: "penalty",
    name: "Penalty",
    unit: "nats per example",
    description: "The regularization term that this model adds to the loss.",
  },
  {
    key: "examples_per_second",
    name: "Speed",
    unit: "examples per second",
    description: "Training throughput. A sudden drop usually means that the machine was busy.",
  },
];

/** The quantities that are non-zero in at least one run. */
export function quantitiesOf(runs: Run[]): Quantity[] {
  const known = QUANTITIES.filter(({ key }) => runs.some((run) => run.history.some((r) => r[key])));
  return known.length ? known : QUANTITIES.slice(0, 1);
}

/** A value of an epoch; null if absent or not finite. */
export function valueAt(record: Record<string, number> | undefined, key: string): number | null {
  const value = record?.[key];
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

export function recordOf(run: Run, epoch: number | null): Record<string, number> | undefined {
  return run.history.find((r) => r.epoch === epoch);
}

export function lastEpoch(run: Run): number {
  return run.history.at(-1)?.epoch ?? 0;
}

/** The epoch with the lowest held-out loss, or lowest training loss without held-out rows. */
export function bestEpoch(run: Run): number | null {
  if (run.best_epoch !== null && recordOf(run, run.best_epoch)) return run.best_epoch;
  const key = watchedKey(run, "loss");
  let best: Record<string, number> | null = null;
  for (const r of run.history) {
    const value = valueAt(r, key);
    if (value !== null && (best === null || value < best[key])) best = r;
  }
  return best?.epoch ?? null;
}

/** The held-out key of a quantity if the run has it, else its training key. */
function watchedKey(run: Run, key: string): string {
  return run.history.some((r) => valueAt(r, `valid_${key}`) !== null) ? `valid_${key}` : key;
}

export type Column = (number | null)[];

/** Epochs, followed by the training and held-out series of each run. */
export function aligned(runs: Run[], key: string, from = 0): [number[], ...Column[]] {
  const all = new Set(runs.flatMap((run) => run.history.map((r) => r.epoch)));
  const epochs = [...all].filter((e) => e >= from).sort((a, b) => a - b);
  const place = new Map(epochs.map((e, i) => [e, i]));
  const columns = runs.flatMap((run) =>
    [key, `valid_${key}`].map((name) => {
      const column: Column = new Array(epochs.length).fill(null);
      for (const r of run.history) {
        const i = place.get(r.epoch);
        if (i !== undefined) column[i] = valueAt(r, name);
      }
      return column;
    }),
  );
  return [epochs, ...columns];
}

const STEEP = 20; // ratio of maximum to last value from which a log axis is preferred

/** Whether a logarithmic axis is possible (all values positive) and preferable. */
export function logarithm(columns: Column[]): { possible: boolean; better: boolean } {
  let [least, most, last] = [Infinity, -Infinity, Infinity];
  for (const column of columns) {
    const known = column.filter((v) => v !== null);
    for (const v of known) {
      least = Math.min(least, v);
      most = Math.max(most, v);
    }
    last = Math.min(last, known.at(-1) ?? Infinity);
  }
  const possible = least > 0 && most > -Infinity;
  return { possible, better: possible && most > STEEP * last };
}

export interface Point {
  epoch: number;
  rate: number;
  distortion: number;
}

/** Rate and distortion of each epoch, on held-out rows if available; empty without a KL. */
export function rateDistortion(run: Run): Point[] {
  const [rate, distortion] = [watchedKey(run, "kl"), watchedKey(run, "reconstruction")];
  const points = run.history.flatMap((r) => {
    const [x, y] = [valueAt(r, rate), valueAt(r, distortion)];
    return x === null || y === null ? [] : [{ epoch: r.epoch, rate: x, distortion: y }];
  });
  return points.some((p) => p.rate !== 0) ? points : [];
}

const TURN = 0.03; // rise, relative to the total improvement, that counts as significant
const EMPTY = 0.05; // KL in nats below which the posterior has collapsed

export interface Diagnosis {
  text: string;
  /** Whether this indicates a problem. */
  problem: boolean;
}

/** Describe the curves of a run, problems first. */
export function diagnose(run: Run): Diagnosis[] {
  const last = run.history.at(-1);
  if (!last) {
    const text = run.training ? "The first epoch is in progress." : "No epochs were recorded.";
    return [{ text, problem: false }];
  }
  const turn = convergence(run);
  const out = [divergence(run), collapse(run, last), worseThanPca(run), turn].filter((v) => v !== null);
  return out.sort((a, b) => Number(b.problem) - Number(a.problem));
}

const problem = (text: string): Diagnosis => ({ text, problem: true });

function divergence(run: Run): Diagnosis | null {
  return run.history.some((r) => "loss" in r && valueAt(r, "loss") === null)
    ? problem("Training diverged: the loss is not finite. Try a lower learning rate.")
    : null;
}

function collapse(run: Run, last: Run["history"][number]): Diagnosis | null {
  const kl = valueAt(last, watchedKey(run, "kl"));
  const empty = kl !== null && kl < EMPTY && run.history.some((r) => r.kl) && run.history.length > 5;
  return empty
    ? problem("The KL is close to 0: the codes carry almost no information (posterior collapse).")
    : null;
}

function worseThanPca(run: Run): Diagnosis | null {
  if (run.settings.likelihood === "mixed") return null; // errors of columns with different units do not add up
  const startingWith = (words: string) =>
    Object.entries(run.held_out).find(([name]) => name.startsWith(words))?.[1] ?? NaN;
  const own = startingWith("squared error per example");
  const same = startingWith("squared error of PCA, same size"); // missing if the code is as long as a row
  const pca = Number.isNaN(same) ? startingWith("squared error of PCA, components in use") : same;
  const size = Number.isNaN(same) ? " as it uses" : "";
  const both = `${formatNumber(own)} and ${formatNumber(pca)}`;
  return own > pca
    ? problem(`The squared error is higher than that of PCA with as many components${size} (${both}).`)
    : null;
}

/** Whether the held-out loss rose, was still falling, or converged. */
function convergence(run: Run): Diagnosis | null {
  const best = bestEpoch(run);
  const key = watchedKey(run, "loss");
  const held = key === "valid_loss" ? "held-out" : "training";
  const [first, last, at] = [run.history[0], run.history.at(-1), recordOf(run, best)];
  const [a, b, c] = [valueAt(first, key), valueAt(at, key), valueAt(last, key)];
  if (best === null || a === null || b === null || c === null || run.history.length < 10) return null;
  const gain = a - b;
  const trainingGain = (valueAt(at, "loss") ?? 0) - (valueAt(last, "loss") ?? 0);
  if (gain > 0 && c - b > TURN * gain && trainingGain > 0 && held === "held-out")
    return problem(
      `After epoch ${best}, the held-out loss rises while the training loss falls: ` +
        "the model overfits.",
    );
  if (run.training) return null;
  const earlier = recordOf(run, run.history[Math.floor(0.8 * run.history.length)].epoch);
  const recentGain = (valueAt(earlier, key) ?? b) - b;
  if (best > 0.95 * lastEpoch(run) && recentGain > TURN * gain)
    return problem(`The ${held} loss was still falling at the end: train for more epochs.`);
  return { text: `The ${held} loss has converged: more epochs would change little.`, problem: false };
}

/** Upper bound of the remaining time in seconds, from the pace of the last epochs. */
export function secondsLeft(run: Run): number | null {
  const recent = run.history.slice(-10).flatMap((r) => valueAt(r, "seconds") ?? []);
  if (!run.training || run.epochs === null || !recent.length) return null;
  return (median(recent) ?? 0) * Math.max(0, run.epochs - lastEpoch(run));
}

export function median(values: number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (!sorted.length) return null;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export interface ComparisonRow {
  name: string;
  /** One text per run; null if the run does not have the value. */
  texts: (string | null)[];
  differs: boolean;
  /** Indices of the best runs; empty if the value does not rank runs. */
  best: number[];
}

/** Settings of several runs, differing settings first. */
export function settingsOf(runs: Run[]): ComparisonRow[] {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].sort();
  const model = line("model", runs.map((run) => run.model));
  const lines = names.map((name) =>
    line(name, runs.map((run) => (name in run.settings ? setting(run.settings[name]) : null))),
  );
  const all = [model, ...lines];
  return [...all.filter((l) => l.differs), ...all.filter((l) => !l.differs)];
}

function line(name: string, texts: (string | null)[], best: number[] = []): ComparisonRow {
  return { name, texts, differs: texts.some((t) => t !== texts[0]), best };
}

function setting(value: unknown): string {
  if (value === null) return "not set";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length ? value.map(setting).join(", ") : "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Held-out metrics of several runs, with the best marked if the runs are comparable. */
export function heldOutOf(runs: Run[]): ComparisonRow[] {
  const tables = runs.map((run) => heldOut(run));
  const names = [...new Set(tables.flatMap((table) => [...table.keys()]))];
  const ranked = comparable(runs);
  return names.map((name) => {
    const values = tables.map((table) => table.get(name) ?? null);
    const texts = values.map((v) => v && formatNumber(v.value, 4) + v.of);
    return line(name, texts, ranked ? bestOf(name, values.map((v) => v && v.value)) : []);
  });
}

/** Split "components in use, of 5" into name and total, so that runs share the name. */
function heldOut(run: Run): Map<string, { value: number; of: string }> {
  const out = new Map<string, { value: number; of: string }>();
  for (const key of Object.keys(run.held_out)) {
    const [, name, of] = /^(.*), of (\d+)$/.exec(key) ?? [key, key, ""];
    const value = valueAt(run.held_out, key);
    if (value !== null) out.set(name, { value, of: of && ` of ${of}` });
  }
  return out;
}

/** Whether the held-out metrics of the runs refer to the same rows and unit. */
export function comparable(runs: Run[]): boolean {
  const same = (of: (run: Run) => unknown) =>
    new Set(runs.map((run) => JSON.stringify(of(run) ?? null))).size <= 1;
  return (
    same((run) => run.data) &&
    same((run) => run.held_out.rows) &&
    ["likelihood", "binarize"].every((name) => same((run) => run.settings[name]))
  );
}

/** Indices of the best runs, including ties; empty if all tie or the metric does not rank runs. */
export function bestOf(name: string, values: (number | null)[]): number[] {
  const sign = direction(name);
  const known = values.filter((v) => v !== null);
  if (!sign || known.length < 2) return [];
  const best = sign > 0 ? Math.max(...known) : Math.min(...known);
  const winners = values.flatMap((v, i) => (v === best ? [i] : []));
  return winners.length < known.length ? winners : [];
}

function direction(name: string): -1 | 0 | 1 {
  if (/\bPCA\b|normal distribution|mixture of normals/.test(name)) return 0; // of another model
  if (/ELBO|log-likelihood|accuracy|precision|recall|\bAUC\b/i.test(name)) return 1;
  return /error|reconstruction|distance/i.test(name) ? -1 : 0;
}

/** Epochs and training time of several runs. */
export function effortOf(runs: Run[]): ComparisonRow[] {
  const each = (name: string, of: (run: Run) => number | null, show = (v: number) => formatNumber(v)) => {
    const values = runs.map(of);
    return line(name, values.map((v) => (v === null ? null : show(v))));
  };
  const all = (run: Run, key: string) => run.history.flatMap((r) => valueAt(r, key) ?? []);
  const total = (run: Run) => {
    const seconds = all(run, "seconds");
    return seconds.length ? seconds.reduce((a, b) => a + b, 0) : null;
  };
  const lines = [
    each("epochs", lastEpoch),
    each("best epoch", (run) => run.best_epoch ?? bestEpoch(run)),
    each("training time", total, duration),
    each("examples per second, median", (run) => median(all(run, "examples_per_second"))),
  ];
  return lines.filter((l) => l.texts.some((t) => t !== null));
}

/** Format a duration. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${formatNumber(seconds, 2)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${formatNumber(seconds / 3600, 2)} h`;
}
