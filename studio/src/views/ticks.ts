/** Round numbers along an axis. */

export interface Span {
  low: number;
  high: number;
}

const ROUNDING = 1e-9; // share of a step by which an end may miss a round number

/** Round numbers within a span, about n of them. */
export function ticks({ low, high }: Span, n: number): number[] {
  const rough = (high - low) / Math.max(1, n);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((m) => m * power >= rough) ?? 10);
  const [first, last] = [Math.ceil(low / step - ROUNDING), Math.floor(high / step + ROUNDING)];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

const STEEP = 10; // the greatest over the least, from which steps are by factors

/** Round numbers within a span of a logarithmic axis. */
export function logTicks(span: Span, n: number): number[] {
  if (!(span.low > 0) || span.high / span.low < STEEP) return ticks(span, n);
  const [first, last] = [Math.floor(Math.log10(span.low)), Math.ceil(Math.log10(span.high))];
  const factors = Math.log10(span.high / span.low) > n / 2 ? [1] : [1, 2, 5];
  const all = Array.from({ length: last - first + 1 }, (_, i) => factors.map((f) => f * 10 ** (first + i)));
  return all.flat().filter((v) => v >= span.low && v <= span.high);
}
