import { describe, expect, it } from "vitest";
import {
  aligned,
  bestEpoch,
  bestOf,
  comparable,
  duration,
  effortOf,
  heldOutOf,
  logarithm,
  median,
  quantitiesOf,
  rateDistortion,
  secondsLeft,
  settingsOf,
  diagnose,
} from "../src/curves";
import type { Run } from "../src/manifest";

function run(about: Partial<Run> = {}): Run {
  return {
    name: "a",
    model: "VAE",
    data: "digits",
    history: [],
    settings: {},
    held_out: {},
    best_epoch: null,
    epochs: null,
    training: false,
    ...about,
  };
}

/** A history with training losses and optional held-out losses. */
const history = (train: number[], held?: number[]) =>
  train.map((loss, i) => ({
    epoch: i + 1,
    loss,
    ...(held && { valid_loss: held[i] }),
  })) as Run["history"];

const falling = (n: number, to = 1) => Array.from({ length: n }, (_, i) => to + 10 * 0.7 ** i);

describe("quantitiesOf", () => {
  it("omits quantities that are absent or always 0", () => {
    const runs = [run({ history: [{ epoch: 1, loss: 3, reconstruction: 3, kl: 0, penalty: 0 }] })];
    expect(quantitiesOf(runs).map((q) => q.key)).toEqual(["loss", "reconstruction"]);
  });

  it("includes the loss before the first epoch", () =>
    expect(quantitiesOf([run()]).map((q) => q.key)).toEqual(["loss"]));
});

describe("bestEpoch", () => {
  it("is the best epoch of the run", () =>
    expect(bestEpoch(run({ history: history([3, 2, 1]), best_epoch: 2 }))).toBe(2));

  it("has the lowest held-out loss, or training loss", () => {
    expect(bestEpoch(run({ history: history([3, 2, 1], [3, 1, 2]) }))).toBe(2);
    expect(bestEpoch(run({ history: history([3, 2, 1]) }))).toBe(3);
  });

  it("skips NaN", () => {
    expect(bestEpoch(run({ history: history([3, NaN, 4]) }))).toBe(1);
    expect(bestEpoch(run())).toBeNull();
  });
});

describe("aligned", () => {
  it("aligns runs of different length with nulls", () => {
    const runs = [run({ history: history([3, 2], [4, 3]) }), run({ name: "b", history: history([9]) })];
    expect(aligned(runs, "loss")).toEqual([
      [1, 2],
      [3, 2],
      [4, 3],
      [9, null],
      [null, null],
    ]);
  });

  it("starts at the given epoch", () =>
    expect(aligned([run({ history: history([3, 2, 1]) })], "loss", 2)[0]).toEqual([2, 3]));
});

describe("logarithm", () => {
  it("requires positive values and is preferred for steep curves", () => {
    expect(logarithm([[100, 1, null]])).toEqual({ possible: true, better: true });
    expect(logarithm([[10, 9]])).toEqual({ possible: true, better: false });
    expect(logarithm([[1, -1]]).possible).toBe(false);
    expect(logarithm([[null]]).possible).toBe(false);
  });
});

describe("rateDistortion", () => {
  it("prefers held-out rows", () => {
    const record = { epoch: 1, kl: 1, reconstruction: 2, valid_kl: 3, valid_reconstruction: 4 };
    expect(rateDistortion(run({ history: [record] }))).toEqual([{ epoch: 1, rate: 3, distortion: 4 }]);
  });

  it("is empty without a KL", () =>
    expect(rateDistortion(run({ history: [{ epoch: 1, kl: 0, reconstruction: 2 }] }))).toEqual([]));
});

describe("diagnose", () => {
  const texts = (about: Partial<Run>) => diagnose(run(about))
      .map((v) => v.text)
      .join(" ");

  it("reports overfitting", () => {
    const held = [...falling(10), ...Array.from({ length: 10 }, (_, i) => 1.5 + i / 5)];
    expect(texts({ history: history(falling(20, 0), held) })).toContain("overfits");
  });

  it("reports whether more epochs would help", () => {
    const line = Array.from({ length: 20 }, (_, i) => 20 - i);
    expect(texts({ history: history(line, line) })).toContain("still falling");
    expect(diagnose(run({ history: history(line, line) }))[0].problem).toBe(true);
    expect(texts({ history: history(falling(60), falling(60)) })).toContain("converged");
  });

  it("reports posterior collapse", () => {
    const collapse = falling(20).map((loss, i) => ({ epoch: i + 1, loss, kl: 1e-3 }));
    expect(texts({ history: collapse })).toContain("collapse");
  });

  it("reports divergence and errors above PCA", () => {
    const divergence = [{ epoch: 1, loss: 2 }, { epoch: 2, loss: null as unknown as number }];
    expect(texts({ history: divergence })).toContain("diverged");
    const numbers = { "squared error per example": 2, "squared error of PCA, same size": 1 };
    expect(texts({ history: history([1]), held_out: numbers })).toContain("PCA");
    const long = {
      "squared error per example": 2,
      "squared error of PCA, code as long as a row": 0,
      "squared error of PCA, components in use": 3,
    };
    expect(texts({ history: history([1]), held_out: long })).not.toContain("PCA");
    const used = { ...long, "squared error of PCA, components in use": 1 };
    expect(texts({ history: history([1]), held_out: used })).toContain("as it uses (2 and 1)");
    const mixed = { likelihood: "mixed" };
    expect(texts({ history: history([1]), held_out: numbers, settings: mixed })).not.toContain("PCA");
  });

  it("reports the first epoch in progress", () =>
    expect(texts({ training: true })).toBe("The first epoch is in progress."));
});

describe("comparison of runs", () => {
  const a = run({
    settings: { beta: 1, hidden: [400] },
    held_out: { "ELBO (nats per example)": -24, rows: 9 },
  });
  const b = run({
    name: "b",
    settings: { beta: 4, hidden: [400], extra: null },
    held_out: { "ELBO (nats per example)": -26, rows: 9 },
  });

  it("lists differing settings first", () => {
    const lines = settingsOf([a, b]);
    expect(lines.map((l) => [l.name, l.differs])).toEqual([
      ["beta", true],
      ["extra", true],
      ["model", false],
      ["hidden", false],
    ]);
    expect(lines[1].texts).toEqual([null, "not set"]);
    expect(lines[3].texts).toEqual(["400", "400"]);
  });

  it("marks the best of comparable runs", () => {
    expect(heldOutOf([a, b])[0].best).toEqual([0]);
    const other = { ...b, data: "mnist" };
    expect(comparable([a, other])).toBe(false);
    expect(heldOutOf([a, other])[0].best).toEqual([]);
  });

  it("merges component counts of different models", () => {
    const parts = [5, 8].map((n) => run({ held_out: { [`components in use, of ${n}`]: n - 1 } }));
    expect(heldOutOf(parts)).toMatchObject([{ name: "components in use", texts: ["4 of 5", "7 of 8"] }]);
  });

  it("lists epochs and time", () => {
    const history = [1, 2].map((epoch) => ({ epoch, loss: 1, seconds: 30, examples_per_second: 1000 }));
    expect(effortOf([run({ history, best_epoch: 2 })]).map((l) => l.texts[0])).toEqual([
      "2",
      "2",
      "60 s",
      "1000",
    ]);
  });
});

describe("bestOf", () => {
  it.each([
    ["ELBO (nats per example)", [-2, -1], [1]],
    ["squared error per example", [2, 1, 1], [1, 2]],
    ["reconstruction (nats)", [1, null, 2], [0]],
    ["squared error of PCA, same size", [2, 1], []],
    ["log-likelihood of a normal distribution (nats)", [-2, -1], []],
    ["KL (nats)", [2, 1], []],
    ["ELBO (nats per example)", [1, 1], []],
    ["ELBO (nats per example)", [1, null], []],
  ])("of %s %j is %j", (name, values, best) => expect(bestOf(name, values)).toEqual(best));
});

it("estimates the remaining time", () => {
  const history = [1, 2, 3].map((epoch) => ({ epoch, loss: 1, seconds: 2 }));
  expect(secondsLeft(run({ history, epochs: 10, training: true }))).toBe(14);
  expect(secondsLeft(run({ history, epochs: 10 }))).toBeNull();
});

it("formats durations", () => {
  expect([8.25, 600, 9000].map(duration)).toEqual(["8.3 s", "10 min", "2.5 h"]);
  expect(median([3, 1, 2, 10])).toBe(2.5);
  expect(median([])).toBeNull();
});
