/** Tick positions of axes. */

export interface Span {
  low: number;
  high: number;
}

const ROUNDING = 1e-9; // tolerance at the ends, relative to the step

/** About n round numbers within a span. */
export function ticks({ low, high }: Span, n: number): number[] {
  const rough = (high - low) / Math.max(1, n);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10);
  const [first, last] = [Math.ceil(low / step - ROUNDING), Math.floor(high / step + ROUNDING)];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

const STEEP = 10; // ratio of the ends from which ticks are logarithmic

/** Round numbers along a logarithmic axis. */
export function logTicks(span: Span, n: number): number[] {
  if (!(span.low > 0) || span.high / span.low < STEEP) return ticks(span, n);
  const [first, last] = [Math.floor(Math.log10(span.low)), Math.ceil(Math.log10(span.high))];
  const factors = Math.log10(span.high / span.low) > n / 2 ? [1] : [1, 2, 5];
  const all = Array.from({ length: last - first + 1 }, (_, i) => factors.map((f) => f * 10 ** (first + i)));
  return all.flat().filter((v) => v >= span.low && v <= span.high);
}
