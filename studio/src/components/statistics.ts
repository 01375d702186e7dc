/** Histograms, quantiles and ranks. */

/** Count values in equal bins; values outside the range count in the end bins. */
export function histogram(values: ArrayLike<number>, low: number, high: number, bins: number): Float32Array {
  const counts = new Float32Array(bins);
  const width = (high - low) / bins || 1;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    counts[Math.min(bins - 1, Math.max(0, Math.floor((values[i] - low) / width)))]++;
  }
  return counts;
}

const MAX_VALUES = 20_000; // approximate number of values used for quantiles

/** Quantiles of the values, from a subset if there are very many. */
export function quantiles(values: ArrayLike<number>, shares: number[]): number[] {
  const step = Math.max(1, Math.floor(values.length / MAX_VALUES));
  const some: number[] = [];
  for (let i = 0; i < values.length; i += step) if (!Number.isNaN(values[i])) some.push(values[i]);
  some.sort((a, b) => a - b);
  return shares.map((s) => some[Math.round(s * (some.length - 1))] ?? NaN);
}

/** Minimum and maximum; NaN if there are no values. */
export function extent(values: ArrayLike<number>): [number, number] {
  let [low, high] = [NaN, NaN];
  for (let i = 0; i < values.length; i++) {
    if (!(values[i] >= low)) low = Number.isNaN(values[i]) ? low : values[i];
    if (!(values[i] <= high)) high = Number.isNaN(values[i]) ? high : values[i];
  }
  return [low, high];
}

/** The share of values below one. */
export function shareBelow(values: ArrayLike<number>, value: number): number {
  let [below, known] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (values[i] < value) below++;
    if (!Number.isNaN(values[i])) known++;
  }
  return known ? below / known : 0;
}

/** Describe the rank of an anomaly score that exceeds this share of all items. */
export function describeRank(share: number): string {
  const rank = `more anomalous than ${Math.floor(100 * share)}% of all items`;
  if (share >= 0.9) return `Likely anomaly: ${rank}.`;
  return `Typical item: ${rank}.`;
}

/** The histogram as an SVG path in a box of `counts.length` by 1. */
export function silhouette(counts: Float32Array): string {
  const most = Math.max(...counts) || 1;
  const steps = Array.from(counts, (c, i) => {
    const top = (1 - c / most).toFixed(3);
    return `V${top}H${i + 1}`;
  });
  return `M0 1${steps.join("")}V1Z`;
}
