/** Anomaly detection by a score: thresholds, flagged rows and detection metrics. */

import type { Numbers } from "./backend";
import type { Column, Item } from "./manifest";

/** A categorical column and the class of each row. */
export interface Labelled {
  column: Column;
  classes: Numbers;
}

/** Rows and scores in increasing order; NaN scores come first. */
export interface Ranking {
  rows: Int32Array;
  scores: Float64Array;
}

export function ranking(scores: Numbers): Ranking {
  const value = (i: number) => (Number.isNaN(scores[i]) ? -Infinity : scores[i]);
  const rows = Int32Array.from(scores.keys()).sort((a, b) => value(a) - value(b) || a - b);
  return { rows, scores: Float64Array.from(rows, value) };
}

/** The number of sorted scores below a value. */
export function below(sorted: Float64Array, value: number): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The number of rows whose score is at least the threshold. */
export function flagged({ scores }: Ranking, threshold: number): number {
  return scores.length - below(scores, threshold);
}

/** A quantile of sorted values, by linear interpolation. */
export function quantile(sorted: Numbers, share: number): number {
  const place = Math.min(1, Math.max(0, share)) * (sorted.length - 1);
  const k = Math.floor(place);
  const next = sorted[Math.min(k + 1, sorted.length - 1)];
  return place === k ? sorted[k] : sorted[k] + (place - k) * (next - sorted[k]);
}

/** The threshold that flags this share of the rows, as closely as ties allow. */
export function thresholdFor({ scores }: Ranking, share: number): number {
  const k = Math.round((1 - share) * scores.length);
  return k < scores.length ? scores[Math.max(0, k)] : above(scores[scores.length - 1]);
}

/** A value above the highest score. */
function above(top: number): number {
  return top + Math.max(Math.abs(top) * 1e-6, 1e-12);
}

/** The axis of a score: its range, and whether it is logarithmic. */
export interface Axis {
  low: number;
  high: number;
  log: boolean;
}

const SKEWED = 30; // maximum over median from which the axis is logarithmic

export function axisOf(sorted: Float64Array): Axis {
  const known = sorted.subarray(below(sorted, -Number.MAX_VALUE), below(sorted, Infinity));
  if (!known.length) return { low: 0, high: 1, log: false };
  const [low, middle, top] = [known[0], quantile(known, 0.5), known[known.length - 1]];
  const high = above(top); // the highest threshold flags nothing
  return { low, high, log: low > 0 && high > SKEWED * middle };
}

/** The position of a score along the axis, from 0 to 1. */
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

/** Detection metrics at a threshold; precision is NaN if nothing is flagged. */
export interface DetectionMetrics {
  threshold: number;
  precision: number;
  recall: number;
  f1: number;
}

/**
 * Precision and recall at each distinct threshold, from the highest to the lowest. `anomalous` is
 * 1 for rows labelled as anomalies.
 */
export function metricsAtAllThresholds({ rows, scores }: Ranking, anomalous: Uint8Array): DetectionMetrics[] {
  const positives = total(anomalous);
  const out: DetectionMetrics[] = [];
  let hits = 0;
  for (let k = rows.length - 1; k >= 0; k--) {
    hits += anomalous[rows[k]];
    if (k > 0 && scores[k - 1] === scores[k]) continue; // tied rows are flagged together
    out.push(metrics(scores[k], hits, rows.length - k, positives));
  }
  return out;
}

function metrics(threshold: number, hits: number, n: number, positives: number): DetectionMetrics {
  const f1 = n + positives ? (2 * hits) / (n + positives) : NaN;
  return { threshold, precision: hits / n, recall: hits / positives, f1 };
}

/** Detection metrics at one threshold. */
export function metricsAt(ranked: Ranking, anomalous: Uint8Array, threshold: number): DetectionMetrics {
  const first = below(ranked.scores, threshold);
  let hits = 0;
  for (let k = first; k < ranked.rows.length; k++) hits += anomalous[ranked.rows[k]];
  return metrics(threshold, hits, ranked.rows.length - first, total(anomalous));
}

/** Average precision, without interpolation. */
export function averagePrecision(points: DetectionMetrics[]): number {
  let [sum, before] = [0, 0];
  for (const { precision, recall } of points) {
    sum += (recall - before) * precision;
    before = recall;
  }
  return points.length ? sum : NaN;
}

/**
 * The probability that an anomaly scores higher than a normal row; ties count half.
 *
 * Reference: The meaning and use of the area under a ROC curve (Hanley and McNeil, 1982).
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

/** The point with the highest F1, the highest threshold among equals; null if there is none. */
export function bestF1(points: DetectionMetrics[]): DetectionMetrics | null {
  return points.reduce<DetectionMetrics | null>((best, p) => (p.f1 > (best?.f1 ?? -1) ? p : best), null);
}

export type Order = "anomalous" | "normal" | "near";

/** Up to `limit` rows: most anomalous first, most normal first, or nearest to the threshold. */
export function ordered(ranked: Ranking, order: Order, threshold: number, limit: number): Int32Array {
  const { rows, scores } = ranked;
  const n = Math.min(limit, rows.length);
  if (order === "normal") return rows.slice(0, n);
  if (order === "anomalous") return rows.slice(rows.length - n).reverse();
  const out = new Int32Array(n);
  let [down, up] = [below(scores, threshold) - 1, below(scores, threshold)];
  for (let i = 0; i < n; i++) {
    const closer = down < 0 || scores[up] - threshold <= threshold - scores[down];
    out[i] = rows[closer ? up++ : down--];
  }
  return out;
}

const ANOMALY_NAME =
  /anomal|outlier|abnormal|defect|fraud|attack|\bfault|broken|malign|intrusion|failure|novel|spam|damaged/i;
const NORMAL_NAME = /^(normal|inlier|ok|okay|good|benign|healthy|regular|nominal|usual|fine|legit.*)\.?$/i;
const RARE = 0.05;

/** Guess which classes are anomalies, by their names or their rarity. */
export function likelyAnomalies(categories: string[], classes: Numbers): number[] {
  const where = (holds: (name: string, k: number) => boolean) =>
    categories.flatMap((name, k) => (holds(name, k) ? [k] : []));
  const named = where((name) => ANOMALY_NAME.test(name));
  if (named.length) return named;
  if (categories.some((name) => NORMAL_NAME.test(name))) return where((name) => !NORMAL_NAME.test(name));
  const pair = [...categories].sort().join(" ");
  if (pair === "-1 1") return where((name) => name === "-1"); // scikit-learn's label of outliers
  const counts = new Int32Array(categories.length);
  classes.forEach((k: number) => counts[k]++);
  if (pair === "0 1" || pair === "False True")
    return where((name, k) => (name === "1" || name === "True") && 2 * counts[k] < classes.length);
  const rarest = counts.indexOf(Math.min(...counts.filter((c) => c > 0)));
  return rarest >= 0 && counts[rarest] <= RARE * classes.length ? [rarest] : [];
}

/** 1 for each row whose class counts as an anomaly. */
export function anomalyMask(classes: Numbers, chosen: ReadonlySet<number>): Uint8Array {
  return Uint8Array.from(classes, (k) => (chosen.has(k) ? 1 : 0));
}

function total(marked: Uint8Array): number {
  return marked.reduce((sum, v) => sum + v, 0);
}

/**
 * Squared error of a reconstruction at each value, in units of the item's scale. A wrong category
 * counts 1, a missing value 0.
 */
export function squaredErrors(
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

/** The upper end of a colour scale shared by several items: their 99.5% quantile. */
export function sharedScale(fields: Float64Array[]): number {
  const all = new Float64Array(fields.reduce((sum, f) => sum + f.length, 0));
  let start = 0;
  for (const field of fields) {
    all.set(field, start);
    start += field.length;
  }
  const top = all.length ? quantile(all.sort(), 0.995) : 0;
  return top > 0 ? top : 1;
}
