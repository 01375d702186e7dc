/** Counts, quantiles and shares of many numbers. */

/** Count values in equal bins; what lies outside counts in the bins at the ends. */
export function histogram(values: ArrayLike<number>, low: number, high: number, bins: number): Float32Array {
  const counts = new Float32Array(bins);
  const width = (high - low) / bins || 1;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    counts[Math.min(bins - 1, Math.max(0, Math.floor((values[i] - low) / width)))]++;
  }
  return counts;
}

const SEEN = 20_000; // values a quantile is taken from

/** Values below which lie the given shares; of very many values, a part is looked at. */
export function quantiles(values: ArrayLike<number>, shares: number[]): number[] {
  const step = Math.max(1, Math.floor(values.length / SEEN));
  const some: number[] = [];
  for (let i = 0; i < values.length; i += step) if (!Number.isNaN(values[i])) some.push(values[i]);
  some.sort((a, b) => a - b);
  return shares.map((s) => some[Math.round(s * (some.length - 1))] ?? NaN);
}

/** The least and the greatest of many values; NaN where there are none. */
export function extent(values: ArrayLike<number>): [number, number] {
  let [low, high] = [NaN, NaN];
  for (let i = 0; i < values.length; i++) {
    if (!(values[i] >= low)) low = Number.isNaN(values[i]) ? low : values[i];
    if (!(values[i] <= high)) high = Number.isNaN(values[i]) ? high : values[i];
  }
  return [low, high];
}

/** The share of values that are smaller. */
export function shareBelow(values: ArrayLike<number>, value: number): number {
  let [below, seen] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (values[i] < value) below++;
    if (!Number.isNaN(values[i])) seen++;
  }
  return seen ? below / seen : 0;
}

/** How strange an item is whose score tops this share of all items. */
export function strangeness(share: number): string {
  const tops = `${Math.floor(100 * share)}%`;
  if (share >= 0.99) return `Stranger than ${tops} of the items: look at this one.`;
  if (share >= 0.9) return `Stranger than ${tops} of the items.`;
  if (share >= 0.5) return `An ordinary item: stranger than ${tops} of them.`;
  return `A typical item: stranger than only ${tops} of them.`;
}

/** The outline of counts as an SVG path over a box of `counts.length` by 1, tallest bin at the top. */
export function silhouette(counts: Float32Array): string {
  const most = Math.max(...counts) || 1;
  const steps = Array.from(counts, (c, i) => {
    const top = (1 - c / most).toFixed(3);
    return `V${top}H${i + 1}`;
  });
  return `M0 1${steps.join("")}V1Z`;
}
