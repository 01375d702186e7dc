/** Drawing of items on a canvas: images by pixel, signals as lines, vectors as bars. */

import { heat, signed, viridis } from "./colours";
import type { Item } from "./manifest";
import { FLOOR, type Spectrogram } from "./spectrogram";

/** Height, width and channels of an image. */
export function imageSize(item: Item): { height: number; width: number; channels: number } {
  const shape = item.shape;
  const channels = shape.length === 3 ? shape[0] : 1;
  return { height: shape[shape.length - 2], width: shape[shape.length - 1], channels };
}

/**
 * The RGBA bytes of an image. The first three channels are red, green and blue; two channels are
 * green and magenta, which is grey where they agree. Missing values are transparent.
 */
export function imageBytes(item: Item, x: ArrayLike<number>): Uint8ClampedArray<ArrayBuffer> {
  const { channels } = imageSize(item);
  return composed(item, x, channels >= 3 ? [0, 1, 2] : channels === 2 ? [1, 0, 1] : [0, 0, 0]);
}

/** The RGBA bytes of one channel, in grey. */
export function channelBytes(
  item: Item,
  x: ArrayLike<number>,
  channel: number,
): Uint8ClampedArray<ArrayBuffer> {
  return composed(item, x, [channel, channel, channel]);
}

function composed(item: Item, x: ArrayLike<number>, from: number[]): Uint8ClampedArray<ArrayBuffer> {
  const { height, width } = imageSize(item);
  const pixels = height * width;
  const bytes = new Uint8ClampedArray(4 * pixels);
  const step = 255 / (item.high - item.low || 1);
  for (let i = 0; i < pixels; i++) {
    let missing = false;
    for (let k = 0; k < 3; k++) {
      const value = x[from[k] * pixels + i];
      missing ||= Number.isNaN(value);
      bytes[4 * i + k] = (value - item.low) * step; // clamped and rounded
    }
    bytes[4 * i + 3] = missing ? 0 : 255;
  }
  return bytes;
}

/** RGBA bytes of one number per pixel: a difference in [-1, 1] or heat in [0, 1]; NaN is transparent. */
export function fieldBytes(
  values: ArrayLike<number>,
  how: "signed" | "heat",
): Uint8ClampedArray<ArrayBuffer> {
  const bytes = new Uint8ClampedArray(4 * values.length);
  for (let i = 0; i < values.length; i++) {
    const colour = how === "signed" ? signed((values[i] + 1) / 2) : heat(values[i]);
    for (let k = 0; k < 3; k++) bytes[4 * i + k] = colour[k];
    bytes[4 * i + 3] = Number.isNaN(values[i]) ? 0 : 255;
  }
  return bytes;
}

/** The value of largest magnitude over the channels, per pixel; NaN if all are missing. */
export function farthest(item: Item, values: ArrayLike<number>): Float64Array {
  const { height, width, channels } = imageSize(item);
  const pixels = height * width;
  return Float64Array.from({ length: pixels }, (_, i) => {
    let most = NaN;
    for (let c = 0; c < channels; c++) {
      const value = values[c * pixels + i];
      if (Number.isNaN(most) || Math.abs(value) > Math.abs(most)) most = value;
    }
    return most;
  });
}

/** The mean over the known channels, per pixel; NaN if all are missing. */
export function overChannels(item: Item, values: ArrayLike<number>): Float64Array {
  const { height, width, channels } = imageSize(item);
  const pixels = height * width;
  return Float64Array.from({ length: pixels }, (_, i) => {
    let [sum, known] = [0, 0];
    for (let c = 0; c < channels; c++) {
      const value = values[c * pixels + i];
      if (Number.isNaN(value)) continue;
      sum += value;
      known++;
    }
    return sum / known;
  });
}

/** The number of missing values. */
export function gaps(x: ArrayLike<number>): number {
  let n = 0;
  for (let i = 0; i < x.length; i++) if (Number.isNaN(x[i])) n++;
  return n;
}

/** RGBA bytes of a spectrogram: one pixel per frame and bin, high frequencies at the top. */
export function spectrogramBytes({ decibels, frames, bins }: Spectrogram): Uint8ClampedArray<ArrayBuffer> {
  const bytes = new Uint8ClampedArray(4 * frames * bins).fill(255);
  for (let f = 0; f < frames; f++)
    for (let k = 0; k < bins; k++) {
      const colour = viridis(1 - decibels[f * bins + k] / FLOOR);
      bytes.set(colour, 4 * ((bins - 1 - k) * frames + f));
    }
  return bytes;
}

export function paint(
  canvas: HTMLCanvasElement,
  bytes: Uint8ClampedArray<ArrayBuffer>,
  width: number,
  height: number,
): void {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  canvas.getContext("2d")!.putImageData(new ImageData(bytes, width, height), 0, 0);
}

/** The context of a canvas sized to its place on the page; cleared unless `over`. */
function contextOf(canvas: HTMLCanvasElement, pixelRatio: number, over = false) {
  const [width, height] = [canvas.clientWidth || 240, canvas.clientHeight || 90];
  const context = canvas.getContext("2d")!;
  if (!over) {
    canvas.width = width * pixelRatio; // this clears it
    canvas.height = height * pixelRatio;
    context.scale(pixelRatio, pixelRatio);
  }
  return { context, width, height };
}

/** Draw a signal, each channel in its own band; lines break at missing values. */
export function drawSignal(
  canvas: HTMLCanvasElement,
  item: Item,
  x: ArrayLike<number>,
  colour: string,
  pixelRatio = window.devicePixelRatio || 1,
  over = false, // keep what is already drawn
): void {
  const samples = item.shape[item.shape.length - 1];
  const channels = item.shape.length > 1 ? item.shape[0] : 1;
  const { context, width, height } = contextOf(canvas, pixelRatio, over);
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.lineJoin = "round";
  const band = height / channels;
  const range = item.high - item.low || 1;
  for (let c = 0; c < channels; c++) {
    context.beginPath();
    let broken = true;
    for (const i of outline(x, c * samples, samples, 2 * width * pixelRatio)) {
      const value = x[c * samples + i];
      const share = Math.min(1, Math.max(0, (value - item.low) / range));
      const place = (i / Math.max(1, samples - 1)) * width;
      const level = band * (c + 1) - 1 - share * (band - 2);
      if (!Number.isNaN(value)) broken ? context.moveTo(place, level) : context.lineTo(place, level);
      broken = Number.isNaN(value);
    }
    context.stroke();
  }
}

/** The samples to draw: all, or the minimum and maximum of each of `most` / 2 segments. */
export function outline(x: ArrayLike<number>, start: number, n: number, most: number): number[] {
  if (n <= 2 * most) return Array.from({ length: n }, (_, i) => i);
  const out: number[] = [];
  const parts = Math.max(1, Math.floor(most / 2));
  for (let p = 0; p < parts; p++) {
    const [from, to] = [Math.floor((p * n) / parts), Math.floor(((p + 1) * n) / parts)];
    let [low, high] = [from, from];
    for (let i = from; i < to; i++) {
      if (x[start + i] < x[start + low]) low = i;
      if (x[start + i] > x[start + high]) high = i;
    }
    out.push(Math.min(low, high));
    if (low !== high) out.push(Math.max(low, high));
  }
  return out;
}

/** Draw a vector as bars from 0, and optionally a second one as marks. */
export function drawBars(
  canvas: HTMLCanvasElement,
  item: Item,
  x: ArrayLike<number>,
  beside: ArrayLike<number> | null,
  colours: { bar: string; mark: string; axis: string },
  pixelRatio = window.devicePixelRatio || 1,
): void {
  const { context, width, height } = contextOf(canvas, pixelRatio);
  const [low, high] = [Math.min(0, item.low), Math.max(0, item.high)];
  const level = (v: number) =>
    height - 2 - (height - 4) * Math.min(1, Math.max(0, (v - low) / (high - low || 1)));
  const step = width / Math.max(1, x.length);
  const bar = Math.max(step - (step > 3 ? 1 : 0), 0.5);
  context.fillStyle = colours.bar;
  for (let i = 0; i < x.length; i++)
    if (!Number.isNaN(x[i])) context.fillRect(i * step, level(x[i]), bar, level(0) - level(x[i]));
  context.fillStyle = colours.mark;
  if (beside)
    for (let i = 0; i < x.length; i++)
      if (!Number.isNaN(beside[i])) context.fillRect(i * step, level(beside[i]) - 1, bar, 2);
  context.fillStyle = colours.axis;
  context.fillRect(0, level(0), width, 1);
}
