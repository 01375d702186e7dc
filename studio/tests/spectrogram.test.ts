import { describe, expect, it } from "vitest";
import type { Item } from "../src/manifest";
import { mono, repeats } from "../src/sound";
import { FLOOR, loudest, spectrogram, windowOf } from "../src/spectrogram";

const sine = (n: number, frequency: number, height = 1) =>
  Float32Array.from({ length: n }, (_, i) => height * Math.sin(2 * Math.PI * frequency * i));

describe("spectrogram", () => {
  it("finds the frequency of a sine, 0 dB loud", () => {
    const made = spectrogram(sine(4096, 1 / 8), 256);
    expect(loudest(made)).toBeCloseTo(1 / 8, 10);
    const middle = Math.floor(made.frames / 2);
    expect(made.decibels[middle * made.bins + 32]).toBeCloseTo(0, 1);
  });

  it("is 20 dB lower at a tenth of the amplitude", () => {
    const made = spectrogram(sine(4096, 1 / 8, 0.1), 256);
    expect(made.decibels[Math.floor(made.frames / 2) * made.bins + 32]).toBeCloseTo(-20, 1);
  });

  it("agrees with the definition of the transform", () => {
    const sound = Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * i));
    const made = spectrogram(sound, 16);
    const frame = 8;
    const start = frame * 4 - 8;
    for (let k = 0; k < made.bins; k++) {
      let [re, im] = [0, 0];
      for (let i = 0; i < 16; i++) {
        const value = sound[start + i] * Math.sin((Math.PI * i) / 16) ** 2;
        re += value * Math.cos((2 * Math.PI * k * i) / 16);
        im -= value * Math.sin((2 * Math.PI * k * i) / 16);
      }
      const decibels = 10 * Math.log10((re * re + im * im) / 16);
      expect(made.decibels[frame * made.bins + k]).toBeCloseTo(Math.max(FLOOR, decibels), 3);
    }
  });

  it("is at the floor in silence, without a frequency", () => {
    const made = spectrogram(new Float32Array(512));
    expect(Math.max(...made.decibels)).toBe(FLOOR);
    expect(loudest(made)).toBeNull();
  });

  it("handles short sounds and limits the frames of long ones", () => {
    expect(spectrogram(sine(5, 0.1)).frames).toBeGreaterThan(0);
    expect(spectrogram(sine(200_000, 0.1)).frames).toBeLessThanOrEqual(400);
  });
});

it("chooses window lengths that are powers of two", () => {
  expect([1, 64, 128, 512, 4096, 1e6].map(windowOf)).toEqual([16, 16, 16, 64, 512, 512]);
});

describe("mono", () => {
  const item = (shape: number[], low: number, high: number) => ({ shape, low, high }) as Item;

  it("scales low and high to ±1, and clamps", () =>
    expect([...mono(item([1, 4], 0, 10), [0, 5, 10, 20])]).toEqual([-1, 0, 1, 1]));

  it("mixes channels", () =>
    expect([...mono(item([2, 2], -1, 1), [1, 0.5, 0, -0.5])]).toEqual([0.5, 0]));

  it("treats missing values as silence", () => expect([...mono(item([1, 2], -1, 1), [NaN, 1])]).toEqual([0, 1]));
});

it("repeats short sounds", () => {
  expect(repeats(8000, 8000)).toBe(1);
  expect(repeats(400, 8000)).toBe(10);
});
