import { describe, expect, it } from "vitest";
import { viridis } from "../src/colours";
import {
  channelBytes,
  farthest,
  fieldBytes,
  gaps,
  outline,
  overChannels,
  imageBytes,
  imageSize,
  spectrogramBytes,
} from "../src/draw";
import type { Item } from "../src/manifest";
import { FLOOR } from "../src/spectrogram";

function item(shape: number[], low = 0, high = 1): Item {
  return { kind: "image", shape, low, high, rate: null, features: null, scale: [1], fill: [0] };
}

const pixels = (bytes: Uint8ClampedArray) =>
  Array.from({ length: bytes.length / 4 }, (_, i) => [...bytes.slice(4 * i, 4 * i + 4)]);

describe("imageSize", () => {
  it("takes the first of three axes as channels", () => {
    expect(imageSize(item([3, 4, 5]))).toEqual({ channels: 3, height: 4, width: 5 });
    expect(imageSize(item([4, 5]))).toEqual({ channels: 1, height: 4, width: 5 });
  });
});

describe("imageBytes", () => {
  it("is grey for one channel, and clamps values", () =>
    expect(pixels(imageBytes(item([1, 4]), [0, 1, 2, -1]))).toEqual([
      [0, 0, 0, 255],
      [255, 255, 255, 255],
      [255, 255, 255, 255],
      [0, 0, 0, 255],
    ]));

  it("scales from low to high", () =>
    expect(pixels(imageBytes(item([1, 1], -1, 1), [0]))[0]).toEqual([128, 128, 128, 255]));

  it("draws a constant image", () =>
    expect(pixels(imageBytes(item([1, 1], 2, 2), [2]))[0]).toEqual([0, 0, 0, 255]));

  it("is red, green and blue for three or more channels", () => {
    expect(pixels(imageBytes(item([3, 1, 1]), [1, 0.2, 0]))[0]).toEqual([255, 51, 0, 255]);
    expect(pixels(imageBytes(item([4, 1, 1]), [1, 0.2, 0, 0]))[0]).toEqual([255, 51, 0, 255]);
  });

  it("is green and magenta for two channels", () =>
    expect(pixels(imageBytes(item([2, 1, 2]), [1, 0, 0, 1]))).toEqual([
      [0, 255, 0, 255],
      [255, 0, 255, 255],
    ]));

  it("leaves missing values transparent", () => {
    expect(pixels(imageBytes(item([1, 2]), [NaN, 1])).map((p) => p[3])).toEqual([0, 255]);
    expect(pixels(imageBytes(item([3, 1, 1]), [0, NaN, 0]))[0][3]).toBe(0);
  });

  it("shows one channel in grey", () =>
    expect(pixels(channelBytes(item([2, 1, 1]), [0, 1], 1))[0]).toEqual([255, 255, 255, 255]));
});

describe("fieldBytes", () => {
  it("is near white for zero, red for positive and blue for negative values", () => {
    const [below, same, above] = pixels(fieldBytes([-1, 0, 1], "signed"));
    expect(same.slice(0, 3)).toEqual([247, 247, 247]);
    expect(above[0]).toBeGreaterThan(above[2]);
    expect(below[2]).toBeGreaterThan(below[0]);
  });

  it("leaves missing values transparent", () =>
    expect(pixels(fieldBytes([NaN, 0.5], "heat")).map((p) => p[3])).toEqual([0, 255]));
});

describe("overChannels", () => {
  it("is the mean over known channels", () => {
    const got = overChannels(item([2, 1, 3]), [1, 2, NaN, 3, NaN, NaN]);
    expect([...got]).toEqual([2, 2, NaN]);
  });
});

it("counts missing values", () => expect(gaps([1, NaN, 0, NaN])).toBe(2));

describe("outline", () => {
  it("keeps every sample of a short signal", () => expect(outline([5, 6, 7], 0, 3, 10)).toEqual([0, 1, 2]));

  it("keeps minimum and maximum of each part of a long signal, in order", () => {
    const x = Float64Array.from({ length: 1000 }, (_, i) => (i === 333 ? 9 : i === 700 ? -9 : 0));
    const kept = outline(x, 0, 1000, 20);
    expect(kept.length).toBeLessThanOrEqual(20);
    expect(kept).toContain(333);
    expect(kept).toContain(700);
    expect(kept).toEqual([...kept].sort((a, b) => a - b));
  });

  it("reads the given channel", () => {
    const x = new Float64Array(200);
    x[150] = 1;
    expect(outline(x, 100, 100, 4)).toContain(50);
  });
});

it("draws high frequencies at the top and later frames at the right of a spectrogram", () => {
  const made = { decibels: Float32Array.of(0, FLOOR, FLOOR, FLOOR), frames: 2, bins: 2 };
  const loud = viridis(1).map(Math.round);
  const shown = pixels(spectrogramBytes(made));
  expect(shown[2].slice(0, 3)).toEqual(loud); // the second line, its first frame
  expect(shown.filter((p) => p[0] === loud[0]).length).toBe(1);
});

it("farthest does not cancel errors of opposite sign in two channels", () => {
  expect([...farthest(item([3, 1, 2]), [0.5, NaN, -0.6, NaN, 0.1, NaN])]).toEqual([-0.6, NaN]);
});
