import { describe, expect, test } from "vitest";
import {
  auroc,
  averagePrecision,
  axisOf,
  below,
  bestF1,
  sharedScale,
  squaredErrors,
  flagged,
  histogram,
  likelyAnomalies,
  anomalyMask,
  ordered,
  quantile,
  ranking,
  scoreAt,
  shareOf,
  thresholdFor,
  metricsAt,
  metricsAtAllThresholds,
} from "../src/detection";
import type { Item } from "../src/manifest";

const rank = (...scores: number[]) => ranking(Float32Array.from(scores));
const bytes = (...marked: number[]) => Uint8Array.from(marked);

describe("thresholds", () => {
  test("ranking sorts rows by score, with NaN first", () => {
    const { rows, scores } = rank(3, NaN, 1, 3);
    expect([...rows]).toEqual([1, 2, 0, 3]);
    expect([...scores]).toEqual([-Infinity, 1, 3, 3]);
  });

  test("flagged counts scores at or above the threshold, including all ties", () => {
    const ranked = rank(1, 2, 2, 3, NaN);
    expect([0, 2, 2.5, 3, 4].map((t) => flagged(ranked, t))).toEqual([4, 3, 1, 1, 0]);
    expect(below(ranked.scores, 2)).toBe(2);
  });

  test("quantile interpolates linearly", () => {
    const sorted = Float64Array.of(0, 1, 2, 10);
    expect([0, 0.5, 1].map((q) => quantile(sorted, q))).toEqual([0, 1.5, 10]);
    expect(quantile(sorted, 5 / 6)).toBeCloseTo(6);
  });

  test("thresholdFor returns a threshold that flags the given share of rows", () => {
    const ranked = ranking(Float64Array.from({ length: 200 }, (_, i) => i));
    for (const share of [0, 0.005, 0.05, 0.5, 1])
      expect(flagged(ranked, thresholdFor(ranked, share))).toBe(200 * share);
  });

  test("axisOf uses a logarithmic axis for skewed positive scores", () => {
    const even = axisOf(Float64Array.of(1, 2, 3));
    const skewed = axisOf(Float64Array.of(1, 2, 1000));
    expect([even.log, skewed.log]).toEqual([false, true]);
    for (const axis of [even, skewed])
      for (const share of [0, 0.3, 1]) expect(shareOf(axis, scoreAt(axis, share))).toBeCloseTo(share);
    expect(axisOf(Float64Array.of(-1, 2, 1000)).log).toBe(false);
    expect(axisOf(Float64Array.of(-Infinity, 2, Infinity)).low).toBe(2);
  });

  test("axisOf ends above the highest score, also for constant or no scores", () => {
    const axis = axisOf(Float64Array.of(5, 5));
    expect(axis.high).toBeGreaterThan(5);
    expect(shareOf(axis, 5)).toBe(0);
    expect(axisOf(new Float64Array())).toEqual({ low: 0, high: 1, log: false });
  });

  test("histogram counts every score once and ignores NaN", () => {
    const scores = [0, 1, 1.1, 9.9, 10, NaN];
    const counts = histogram(scores, { low: 0, high: 10, log: false }, 10);
    expect([...counts]).toEqual([1, 2, 0, 0, 0, 0, 0, 0, 0, 2]);
  });
});

describe("precision and recall", () => {
  // From the top: 3 (anomaly); 2, 2 (one of two); 1 (normal).
  const ranked = rank(1, 2, 2, 3);
  const anomalous = bytes(0, 1, 0, 1);

  test("match a hand-computed example with a tie", () => {
    const points = metricsAtAllThresholds(ranked, anomalous);
    expect(points.map((p) => p.threshold)).toEqual([3, 2, 1]);
    expect(points.map((p) => p.precision)).toEqual([1, 2 / 3, 1 / 2]);
    expect(points.map((p) => p.recall)).toEqual([0.5, 1, 1]);
    expect(points.map((p) => p.f1)).toEqual([2 / 3, 4 / 5, 4 / 6]);
    expect(averagePrecision(points)).toBeCloseTo(0.5 * 1 + 0.5 * (2 / 3));
    expect(bestF1(points)!.threshold).toBe(2);
  });

  test("auroc is the share of correctly ordered pairs, with ties as one half", () => {
    expect(auroc(ranked, anomalous)).toBeCloseTo((1 + 0.5 + 1 + 1) / 4);
    expect(auroc(rank(1, 1, 1), bytes(0, 1, 0))).toBe(0.5);
    expect(auroc(rank(1, 2), bytes(0, 1))).toBe(1);
    expect(auroc(rank(1, 2), bytes(1, 0))).toBe(0);
    expect(auroc(rank(1, 2), bytes(0, 0))).toBeNaN();
  });

  test("match the example in scikit-learn's documentation", () => {
    const example = rank(0.1, 0.4, 0.35, 0.8);
    const truth = bytes(0, 0, 1, 1);
    expect(averagePrecision(metricsAtAllThresholds(example, truth))).toBeCloseTo(0.8333, 4);
    expect(auroc(example, truth)).toBeCloseTo(0.75);
  });

  test("metricsAt one threshold equals the point of the curve, and handles zero flagged rows", () => {
    for (const point of metricsAtAllThresholds(ranked, anomalous))
      expect(metricsAt(ranked, anomalous, point.threshold)).toEqual(point);
    const none = metricsAt(ranked, anomalous, 99);
    expect([none.precision, none.recall, none.f1]).toEqual([NaN, 0, 0]);
  });

  test("without anomalies there is no best threshold and recall is NaN", () => {
    expect(bestF1([])).toBeNull();
    expect(metricsAt(rank(1), bytes(0), 1).recall).toBeNaN();
  });
});

test("ordered returns the most anomalous, most normal or nearest-to-threshold rows", () => {
  const ranked = rank(5, 1, 4, 2, 3);
  expect([...ordered(ranked, "anomalous", 0, 3)]).toEqual([0, 2, 4]);
  expect([...ordered(ranked, "normal", 0, 2)]).toEqual([1, 3]);
  expect([...ordered(ranked, "near", 3.9, 3)]).toEqual([2, 4, 0]);
  expect([...ordered(ranked, "near", 99, 9)]).toEqual([0, 2, 4, 3, 1]);
  expect([...ordered(ranked, "near", -9, 2)]).toEqual([1, 3]);
});

describe("likelyAnomalies", () => {
  const guess = (categories: string[], ...classes: number[]) =>
    likelyAnomalies(categories, Uint8Array.from(classes));

  test("recognises class names such as anomaly or -1", () => {
    expect(guess(["normal", "anomaly"])).toEqual([1]);
    expect(guess(["Abnormal", "normal"])).toEqual([0]);
    expect(guess(["ok", "scratch", "dent"])).toEqual([1, 2]);
    expect(guess(["-1", "1"])).toEqual([0]);
    expect(guess(["0", "1"], 0, 0, 1)).toEqual([1]);
    expect(guess(["False", "True"], 0, 0, 1)).toEqual([1]);
    expect(guess(["0", "1"], 0, 1)).toEqual([]); // two classes like any others
  });

  test("otherwise selects a rare class, if there is one", () => {
    const rare = Array.from({ length: 100 }, (_, i) => (i < 4 ? 2 : i % 2));
    expect(guess(["a", "b", "c", "unseen"], ...rare)).toEqual([2]);
    expect(guess(["a", "b"], 0, 1, 0, 1)).toEqual([]);
  });

  test("anomalyMask marks the rows of the given classes", () => {
    expect([...anomalyMask(Uint8Array.of(0, 2, 1, 2), new Set([2]))]).toEqual([0, 1, 0, 1]);
  });
});

describe("errors of an item", () => {
  const item: Item = {
    kind: "table",
    shape: [3],
    low: 0,
    high: 1,
    rate: null,
    features: [
      { name: "age", categories: null, whole: true },
      { name: "colour", categories: ["red", "blue"], whole: false },
      { name: "height", categories: null, whole: false },
    ],
    scale: [10, 1, 2],
    fill: [0, 0, 0],
  };

  test("squaredErrors are in units of the scale, 0 or 1 for categories and 0 for missing values", () => {
    expect([...squaredErrors(item, [30, 1, 5], [10, 0.2, 5])]).toEqual([4, 1, 0]);
    expect([...squaredErrors(item, [NaN, 1, 1], [10, 0.9, 4])]).toEqual([0, 0, 2.25]);
    expect([...squaredErrors({ ...item, features: null, scale: [2] }, [0, 0], [2, 4])]).toEqual([1, 4]);
  });

  test("sharedScale is robust to a single extreme value", () => {
    const field = new Float64Array(1000).fill(1);
    field[7] = 1e9;
    expect(sharedScale([field, field])).toBe(1);
    expect(sharedScale([new Float64Array(3)])).toBe(1);
    expect(sharedScale([])).toBe(1);
  });
});
