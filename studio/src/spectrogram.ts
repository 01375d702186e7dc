/** Short-time Fourier transform of a sound. */

import FFT from "fft.js";

export interface Spectrogram {
  /** Level in decibels, 0 for a full-scale sine; frames one after another, low bins first. */
  decibels: Float32Array;
  frames: number;
  /** Frequencies from 0 to half the sample rate. */
  bins: number;
}

export const FLOOR = -80; // decibels shown in the darkest colour
const WINDOWS = [16, 512] as const;
const FRAMES = 400; // maximum number of frames

/** The window length in samples: a power of two near an eighth of the sound. */
export function windowOf(samples: number): number {
  const wanted = 2 ** Math.round(Math.log2(Math.max(1, samples / 8)));
  return Math.min(WINDOWS[1], Math.max(WINDOWS[0], wanted));
}

/** Transform samples within ±1 with Hann windows that overlap by three quarters. */
export function spectrogram(sound: Float32Array, size = windowOf(sound.length)): Spectrogram {
  const fft = new FFT(size);
  const turn = (2 * Math.PI) / size;
  const hann = Float64Array.from({ length: size }, (_, i) => 0.5 - 0.5 * Math.cos(turn * i));
  const full = (size / 4) ** 2; // the power of a sine of height 1: half the window's sum, squared
  const hop = Math.max(size / 4, Math.ceil(sound.length / FRAMES));
  const frames = Math.max(1, Math.ceil(sound.length / hop));
  const bins = size / 2 + 1;
  const decibels = new Float32Array(frames * bins);
  const [part, out] = [new Array<number>(size), fft.createComplexArray()];
  for (let f = 0; f < frames; f++) {
    const start = f * hop - size / 2; // frames are centred, with zero padding
    for (let i = 0; i < size; i++) part[i] = hann[i] * (sound[start + i] || 0);
    fft.realTransform(out, part);
    for (let k = 0; k < bins; k++) {
      const power = (out[2 * k] ** 2 + out[2 * k + 1] ** 2) / full;
      decibels[f * bins + k] = Math.max(FLOOR, 10 * Math.log10(power + 1e-12));
    }
  }
  return { decibels, frames, bins };
}

/** The loudest frequency as a fraction of the sample rate; null for silence. */
export function loudest({ decibels, frames, bins }: Spectrogram): number | null {
  const power = new Float64Array(bins);
  for (let i = 0; i < frames * bins; i++)
    if (decibels[i] > FLOOR) power[i % bins] += 10 ** (decibels[i] / 10);
  const k = power.indexOf(Math.max(...power));
  return power[k] > 0 ? (0.5 * k) / (bins - 1) : null;
}
