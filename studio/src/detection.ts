/** Anomaly detection by a score: thresholds, what they flag, and how right that is. */

import type { Numbers } from "./backend";
import type { Column, Item } from "./manifest";

/** A column of classes, and the class of each row. */
export interface Labelled {
  column: Column;
  classes: Numbers;
}

/** Scores and their rows from the lowest to the highest; a score that is NaN comes first. */
export interface Ranking {
  rows: Int32Array;
  scores: Float64Array;
}

export function ranking(scores: Numbers): Ranking {
  const value = (i: number) => (Number.isNaN(scores[i]) ? -Infinity : scores[i]);
  const rows = Int32Array.from(scores.keys()).sort((a, b) => value(a) - value(b) || a - b);
  return { rows, scores: Float64Array.from(rows, value) };
}

/** The number of scores below a value, of scores in order. */
export function below(sorted: Float64Array, value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many rows a threshold flags: those that score as much or more. */
export function flagged({ scores }: Ranking, threshold: number): number {
  return scores.length - below(scores, threshold);
}

/** The quantile of values in order, by linear interpolation. */
export function quantile(sorted: Numbers, share: number): number {
  const place = Math.min(1, Math.max(0, share)) * (sorted.length - 1);
  const k = Math.floor(place);
  const next = sorted[Math.min(k + 1, sorted.length - 1)];
  return place === k ? sorted[k] : sorted[k] + (place - k) * (next - sorted[k]);
}

/** The threshold that flags the strangest share of the rows, or as near as ties let it. */
export function strangest({ scores }: Ranking, share: number): number {
  const k = Math.round((1 - share) * scores.length);
  return k < scores.length ? scores[Math.max(0, k)] : above(scores[scores.length - 1]);
}

/** A value that no score reaches. */
function above(top: number): number {
  return top + Math.max(Math.abs(top) * 1e-6, 1e-12);
}

/** Where scores are drawn: from low to high, evenly or by powers. */
export interface Axis {
  low: number;
  high: number;
  log: boolean;
}

const SKEWED = 30; // times the median: beyond it an even axis shows one bar and a void

export function axisOf(sorted: Float64Array): Axis {
  const known = sorted.subarray(below(sorted, -Number.MAX_VALUE), below(sorted, Infinity));
  if (!known.length) return { low: 0, high: 1, log: false };
  const [low, middle, top] = [known[0], quantile(known, 0.5), known[known.length - 1]];
  const high = above(top); // the last threshold flags nothing
  return { low, high, log: low > 0 && high > SKEWED * middle };
}

/** The share of the way along the axis at which a score lies. */
export function shareOf({ low, high, log }: Axis, score: number): number {
  const share = log
    ? Math.log(Math.max(score, low) / low) / Math.log(high / low)
    : (score - low) / (high - low);
  return Math.min(1, Math.max(0, share));
}

export function scoreAt({ low, high, log }: Axis, share: number): number {
  if (share >= 1) return high;
  return log ? low * (high / low) ** share : low + share * (high - low);
}

/** Counts of scores in bins along the axis. */
export function histogram(scores: ArrayLike<number>, axis: Axis, bins: number): Int32Array {
  const counts = new Int32Array(bins);
  for (let i = 0; i < scores.length; i++)
    if (!Number.isNaN(scores[i])) counts[Math.min(bins - 1, Math.floor(shareOf(axis, scores[i]) * bins))]++;
  return counts;
}

/** What a threshold gets right: precision is NaN where nothing is flagged. */
export interface Verdict {
  threshold: number;
  precision: number;
  recall: number;
  f1: number;
}

/**
 * Precision and recall at each threshold that makes a difference, from the strictest to the
 * laxest. `anomalous` holds 1 for each row that is an anomaly indeed.
 */
export function verdicts({ rows, scores }: Ranking, anomalous: Uint8Array): Verdict[] {
  const positives = total(anomalous);
  const out: Verdict[] = [];
  let hits = 0;
  for (let k = rows.length - 1; k >= 0; k--) {
    hits += anomalous[rows[k]];
    if (k > 0 && scores[k - 1] === scores[k]) continue; // a tie is flagged whole
    out.push(verdict(scores[k], hits, rows.length - k, positives));
  }
  return out;
}

function verdict(threshold: number, hits: number, n: number, positives: number): Verdict {
  const f1 = n + positives ? (2 * hits) / (n + positives) : NaN;
  return { threshold, precision: hits / n, recall: hits / positives, f1 };
}

/** What one threshold gets right. */
export function verdictAt(ranked: Ranking, anomalous: Uint8Array, threshold: number): Verdict {
  const first = below(ranked.scores, threshold);
  let hits = 0;
  for (let k = first; k < ranked.rows.length; k++) hits += anomalous[ranked.rows[k]];
  return verdict(threshold, hits, ranked.rows.length - first, total(anomalous));
}

/** Precision averaged over the anomalies found, with no interpolation. */
export function averagePrecision(points: Verdict[]): number {
  let [sum, before] = [0, 0];
  for (const { precision, recall } of points) {
    sum += (recall - before) * precision;
    before = recall;
  }
  return points.length ? sum : NaN;
}

/**
 * The chance that an anomaly scores higher than a normal row, ties counting half.
 *
 * Source: The meaning and use of the area under a ROC curve (Hanley and McNeil, 1982).
 */
export function auroc({ rows, scores }: Ranking, anomalous: Uint8Array): number {
  const positives = total(anomalous);
  const negatives = rows.length - positives;
  let [wins, normals] = [0, 0];
  for (let k = 0; k < rows.length; ) {
    const [start, hits] = [k, [0, 0]];
    while (k < rows.length && scores[k] === scores[start]) hits[anomalous[rows[k++]]]++;
    wins += hits[1] * (normals + hits[0] / 2);
    normals += hits[0];
  }
  return wins / (positives * negatives);
}

/** The verdict with the highest F1, of equals the strictest; null where there are none. */
export function bestF1(points: Verdict[]): Verdict | null {
  return points.reduce<Verdict | null>((best, p) => (p.f1 > (best?.f1 ?? -1) ? p : best), null);
}

export type Order = "strange" | "normal" | "near";

/** Up to `limit` rows: strangest first, most normal first, or nearest to the threshold. */
export function ordered(ranked: Ranking, order: Order, threshold: number, limit: number): Int32Array {
  const { rows, scores } = ranked;
  const n = Math.min(limit, rows.length);
  if (order === "normal") return rows.slice(0, n);
  if (order === "strange") return rows.slice(rows.length - n).reverse();
  const out = new Int32Array(n);
  let [down, up] = [below(scores, threshold) - 1, below(scores, threshold)];
  for (let i = 0; i < n; i++) {
    const closer = down < 0 || scores[up] - threshold <= threshold - scores[down];
    out[i] = rows[closer ? up++ : down--];
  }
  return out;
}

const STRANGE =
  /anomal|outlier|abnormal|defect|fraud|attack|\bfault|broken|malign|intrusion|failure|novel|spam|damaged/i;
const USUAL = /^(normal|inlier|ok|okay|good|benign|healthy|regular|nominal|usual|fine|legit.*)\.?$/i;
const RARE = 0.05;

/** Which classes of a column are likely the anomalies: by their names, or by being rare. */
export function likelyAnomalies(categories: string[], classes: Numbers): number[] {
  const where = (holds: (name: string, k: number) => boolean) =>
    categories.flatMap((name, k) => (holds(name, k) ? [k] : []));
  const named = where((name) => STRANGE.test(name));
  if (named.length) return named;
  if (categories.some((name) => USUAL.test(name))) return where((name) => !USUAL.test(name));
  const pair = [...categories].sort().join(" ");
  if (pair === "-1 1") return where((name) => name === "-1"); // scikit-learn's outliers
  const counts = new Int32Array(categories.length);
  classes.forEach((k: number) => counts[k]++);
  if (pair === "0 1" || pair === "False True")
    return where((name, k) => (name === "1" || name === "True") && 2 * counts[k] < classes.length);
  const rarest = counts.indexOf(Math.min(...counts.filter((c) => c > 0)));
  return rarest >= 0 && counts[rarest] <= RARE * classes.length ? [rarest] : [];
}

/** 1 for each row whose class is among those that count as anomalies. */
export function marks(classes: Numbers, chosen: ReadonlySet<number>): Uint8Array {
  return Uint8Array.from(classes, (k) => (chosen.has(k) ? 1 : 0));
}

function total(marked: Uint8Array): number {
  return marked.reduce((sum, v) => sum + v, 0);
}

/**
 * How far an item is from what the model made of it, at each place: squared, in units of the
 * item's scale. A category that differs counts 1, what is missing counts 0.
 */
export function deviations(
  { scale, features }: Item,
  x: ArrayLike<number>,
  made: ArrayLike<number>,
): Float64Array {
  return Float64Array.from(x, (v, i) => {
    if (Number.isNaN(v)) return 0;
    if (features?.[i].categories) return Math.round(made[i]) === v ? 0 : 1;
    return ((made[i] - v) / (scale[i % scale.length] || 1)) ** 2;
  });
}

/** The value of the brightest colour for several items: all but the highest half per cent. */
export function commonTop(fields: Float64Array[]): number {
  const all = new Float64Array(fields.reduce((sum, f) => sum + f.length, 0));
  let start = 0;
  for (const field of fields) {
    all.set(field, start);
    start += field.length;
  }
  const top = all.length ? quantile(all.sort(), 0.995) : 0;
  return top > 0 ? top : 1;
}
