/** Audio playback of signals. */

import { signal } from "@preact/signals";
import type { Item } from "./manifest";

/** Sample rates offered if the data has none; the first is the default. */
export const RATES = [8000, 16000, 22050, 44100];
/** The chosen rate, shared by all signals so that they can be compared. */
export const heardAt = signal(RATES[0]);
const BUFFERS = [8000, 96000] as const; // range of rates supported by all browsers
const LEAST = 0.5; // seconds; a shorter signal is repeated

/** Mix the channels to one within ±1; missing values are silent. */
export function mono(item: Item, x: ArrayLike<number>): Float32Array {
  const samples = item.shape[item.shape.length - 1];
  const channels = x.length / samples;
  const [middle, half] = [(item.high + item.low) / 2, (item.high - item.low) / 2 || 1];
  return Float32Array.from({ length: samples }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += ((x[c * samples + i] - middle) / half || 0) / channels;
    return Math.min(1, Math.max(-1, sum));
  });
}

/** How many times to repeat a sound to last half a second. */
export function repeats(samples: number, rate: number): number {
  return Math.max(1, Math.ceil((LEAST * rate) / Math.max(1, samples)));
}

let context: AudioContext | null = null;
let silence: (() => void) | null = null; // stops the current sound

/** Play a sound and stop any other; return a function to stop it. `ended` is called once. */
export function play(sound: Float32Array, rate: number, ended: () => void): () => void {
  silence?.();
  context ??= new AudioContext();
  void context.resume();
  const playable = Math.min(BUFFERS[1], Math.max(BUFFERS[0], rate));
  const times = repeats(sound.length, rate);
  const buffer = context.createBuffer(1, sound.length * times, playable);
  for (let k = 0; k < times; k++) buffer.getChannelData(0).set(sound, k * sound.length);
  const source = new AudioBufferSourceNode(context, { buffer, playbackRate: rate / playable });
  const stop = () => {
    source.onended = null;
    source.stop();
    source.disconnect();
    if (silence === stop) silence = null;
    ended();
  };
  source.onended = stop;
  source.connect(context.destination);
  source.start();
  silence = stop;
  return stop;
}
