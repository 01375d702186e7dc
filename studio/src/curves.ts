/** What the histories, settings and held-out numbers of runs say. */

import type { Run } from "./manifest";
import { number } from "./words";

export interface Quantity {
  key: string;
  name: string;
  unit: string;
  /** What it is, and what good looks like. */
  says: string;
}

const QUANTITIES: Quantity[] = [
  {
    key: "loss",
    name: "Loss",
    unit: "nats per example",
    says:
      "What training makes small: reconstruction, KL and penalty together. " +
      "Good: both lines fall, then level off side by side.",
  },
  {
    key: "reconstruction",
    name: "Reconstruction",
    unit: "nats per example",
    says: "How much of an item its code fails to tell, −log p(x|z). Lower is closer to the original.",
  },
  {
    key: "kl",
    name: "KL",
    unit: "nats per example",
    says:
      "How much a code tells about its item. It rises as codes come into use; " +
      "near 0 they say nothing (posterior collapse).",
  },
  {
    key: "penalty",
    name: "Penalty",
    unit: "nats per example",
    says: "What this kind of model adds to the loss to shape its codes.",
  },
  {
    key: "examples_per_second",
    name: "Speed",
    unit: "examples a second",
    says: "How fast training went. A sudden fall means that the machine had other work.",
  },
];

/** The quantities that some run has and that are not 0 throughout. */
export function quantitiesOf(runs: Run[]): Quantity[] {
  const known = QUANTITIES.filter(({ key }) => runs.some((run) => run.history.some((r) => r[key])));
  return known.length ? known : QUANTITIES.slice(0, 1);
}

/** A number of an epoch; null where it is absent or not finite. */
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

/** The epoch of the least held-out loss, or of the least loss where nothing was held out. */
export function bestEpoch(run: Run): number | null {
  if (run.best_epoch !== null && recordOf(run, run.best_epoch)) return run.best_epoch;
  const key = watched(run, "loss");
  let best: Record<string, number> | null = null;
  for (const r of run.history) {
    const value = valueAt(r, key);
    if (value !== null && (best === null || value < best[key])) best = r;
  }
  return best?.epoch ?? null;
}

/** The held-out name of a quantity where the run has it, else its training name. */
function watched(run: Run, key: string): string {
  return run.history.some((r) => valueAt(r, `valid_${key}`) !== null) ? `valid_${key}` : key;
}

export type Column = (number | null)[];

/** Epochs, then of each run what training rows and held-out rows gave, from an epoch on. */
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

const STEEP = 20; // greatest over last value from which a logarithmic axis shows more

/** Whether all is above 0, as a logarithmic axis needs, and whether it would show more. */
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

/** The way of a run through the plane, held-out where there is that; empty without a KL. */
export function rateDistortion(run: Run): Point[] {
  const [rate, distortion] = [watched(run, "kl"), watched(run, "reconstruction")];
  const points = run.history.flatMap((r) => {
    const [x, y] = [valueAt(r, rate), valueAt(r, distortion)];
    return x === null || y === null ? [] : [{ epoch: r.epoch, rate: x, distortion: y }];
  });
  return points.some((p) => p.rate !== 0) ? points : [];
}

const TURN = 0.03; // share of all that was gained, from which a rise is no noise
const EMPTY = 0.05; // nats of KL below which a code says nothing

export interface Verdict {
  text: string;
  /** Whether something is wrong with the run. */
  worry: boolean;
}

/** What a run's curves say in words, worries first. */
export function verdicts(run: Run): Verdict[] {
  const last = run.history.at(-1);
  if (!last) {
    const text = run.training ? "The first epoch is under way." : "It has no epochs.";
    return [{ text, worry: false }];
  }
  const turn = turning(run);
  const out = [broken(run), collapsed(run, last), beaten(run), turn].filter((v) => v !== null);
  return out.sort((a, b) => Number(b.worry) - Number(a.worry));
}

const worry = (text: string): Verdict => ({ text, worry: true });

function broken(run: Run): Verdict | null {
  return run.history.some((r) => "loss" in r && valueAt(r, "loss") === null)
    ? worry("The loss stopped being a number: training diverged; try a smaller learning rate.")
    : null;
}

function collapsed(run: Run, last: Run["history"][number]): Verdict | null {
  const kl = valueAt(last, watched(run, "kl"));
  const empty = kl !== null && kl < EMPTY && run.history.some((r) => r.kl) && run.history.length > 5;
  return empty
    ? worry("The KL is near 0: the codes say almost nothing about their items (posterior collapse).")
    : null;
}

function beaten(run: Run): Verdict | null {
  if (run.settings.likelihood === "mixed") return null; // columns of unlike units add up to nothing
  const { "squared error per example": own, "squared error of PCA, same size": pca } = run.held_out;
  const both = `${number(own)} against ${number(pca)}`;
  return own > pca ? worry(`Its squared error is above that of PCA of the same size (${both}).`) : null;
}

/** Whether the held-out loss turned up, was still falling, or settled. */
function turning(run: Run): Verdict | null {
  const best = bestEpoch(run);
  const key = watched(run, "loss");
  const held = key === "valid_loss" ? "held-out" : "training";
  const [first, last, at] = [run.history[0], run.history.at(-1), recordOf(run, best)];
  const [a, b, c] = [valueAt(first, key), valueAt(at, key), valueAt(last, key)];
  if (best === null || a === null || b === null || c === null || run.history.length < 10) return null;
  const gained = a - b;
  const learnt = (valueAt(at, "loss") ?? 0) - (valueAt(last, "loss") ?? 0);
  if (gained > 0 && c - b > TURN * gained && learnt > 0 && held === "held-out")
    return worry(
      `After epoch ${best} the held-out loss rises while the training loss falls: ` +
        "from there on it learns its training rows by heart.",
    );
  if (run.training) return null;
  const before = recordOf(run, run.history[Math.floor(0.8 * run.history.length)].epoch);
  const lately = (valueAt(before, key) ?? b) - b;
  if (best > 0.95 * lastEpoch(run) && lately > TURN * gained)
    return worry(`The ${held} loss was still falling at the end: more epochs would help.`);
  return { text: `The ${held} loss settled: more epochs would change little.`, worry: false };
}

/** Seconds that are left at most, from the pace of the last epochs. */
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

export interface Line {
  name: string;
  /** One text a run; null where a run has no such thing. */
  texts: (string | null)[];
  differs: boolean;
  /** The runs that are best in it; none where better is no question. */
  best: number[];
}

/** The settings of runs side by side, what differs first. */
export function settingsOf(runs: Run[]): Line[] {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run.settings)))].sort();
  const model = line("model", runs.map((run) => run.model));
  const lines = names.map((name) =>
    line(name, runs.map((run) => (name in run.settings ? setting(run.settings[name]) : null))),
  );
  const all = [model, ...lines];
  return [...all.filter((l) => l.differs), ...all.filter((l) => !l.differs)];
}

function line(name: string, texts: (string | null)[], best: number[] = []): Line {
  return { name, texts, differs: texts.some((t) => t !== texts[0]), best };
}

function setting(value: unknown): string {
  if (value === null) return "not set";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length ? value.map(setting).join(", ") : "none";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The held-out numbers of runs side by side, the best marked where that can be said. */
export function heldOutOf(runs: Run[]): Line[] {
  const tables = runs.map((run) => heldOut(run));
  const names = [...new Set(tables.flatMap((table) => [...table.keys()]))];
  const fair = comparable(runs);
  return names.map((name) => {
    const values = tables.map((table) => table.get(name) ?? null);
    const texts = values.map((v) => v && number(v.value, 4) + v.of);
    return line(name, texts, fair ? bestOf(name, values.map((v) => v && v.value)) : []);
  });
}

/** "components in use, of 5" is a name of one run only: the 5 goes to the number. */
function heldOut(run: Run): Map<string, { value: number; of: string }> {
  const out = new Map<string, { value: number; of: string }>();
  for (const key of Object.keys(run.held_out)) {
    const [, name, of] = /^(.*), of (\d+)$/.exec(key) ?? [key, key, ""];
    const value = valueAt(run.held_out, key);
    if (value !== null) out.set(name, { value, of: of && ` of ${of}` });
  }
  return out;
}

/** Whether the runs' held-out numbers are of the same rows and in the same unit. */
export function comparable(runs: Run[]): boolean {
  const same = (of: (run: Run) => unknown) =>
    new Set(runs.map((run) => JSON.stringify(of(run) ?? null))).size <= 1;
  return (
    same((run) => run.data) &&
    same((run) => run.held_out.rows) &&
    ["likelihood", "binarize"].every((name) => same((run) => run.settings[name]))
  );
}

/** The runs that are best in a number; all that tie, none where all do or nobody can say. */
export function bestOf(name: string, values: (number | null)[]): number[] {
  const way = direction(name);
  const known = values.filter((v) => v !== null);
  if (!way || known.length < 2) return [];
  const best = way > 0 ? Math.max(...known) : Math.min(...known);
  const winners = values.flatMap((v, i) => (v === best ? [i] : []));
  return winners.length < known.length ? winners : [];
}

function direction(name: string): -1 | 0 | 1 {
  if (/\bPCA\b/.test(name)) return 0; // a yardstick, no merit of the model
  if (/ELBO|log-likelihood|accuracy|precision|recall|\bAUC\b/i.test(name)) return 1;
  return /error|reconstruction|distance/i.test(name) ? -1 : 0;
}

/** How long the runs took, side by side. */
export function effortOf(runs: Run[]): Line[] {
  const each = (name: string, of: (run: Run) => number | null, show = (v: number) => number(v)) => {
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
    each("time of training", total, duration),
    each("examples a second, median", (run) => median(all(run, "examples_per_second"))),
  ];
  return lines.filter((l) => l.texts.some((t) => t !== null));
}

/** A span of time as one says it. */
export function duration(seconds: number): string {
  if (seconds < 90) return `${number(seconds, 2)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${number(seconds / 3600, 2)} h`;
}
