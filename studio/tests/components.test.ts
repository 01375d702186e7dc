import { describe, expect, it } from "vitest";
import { extent, histogram, quantiles, shareBelow, silhouette, describeRank } from "../src/components/statistics";
import { classColumn, labelColumns } from "../src/components/labels";
import { nameOf, normalShape, readout, shapesOf, shownLatents } from "../src/components/latents";
import { otherRow, step, swing } from "../src/components/itemPair";
import type { Column, Manifest } from "../src/manifest";

describe("counts", () => {
  it("counts values outside the range in the end bins", () => {
    expect([...histogram([0, 0.1, 0.9, 1, -5, 7, NaN], 0, 1, 2)]).toEqual([3, 3]);
  });

  it("counts constant values", () => {
    expect([...histogram([2, 2], 2, 2, 3)]).toEqual([2, 0, 0]);
  });

  it("computes quantiles without NaN", () => {
    expect(quantiles([3, NaN, 1, 2], [0, 0.5, 1])).toEqual([1, 2, 3]);
    expect(quantiles([], [0.5])).toEqual([NaN]);
  });

  it("computes the share of smaller values", () => {
    expect(shareBelow([1, 2, 3, 4], 3)).toBe(0.5);
    expect(shareBelow([NaN, 1], 2)).toBe(1);
    expect(shareBelow([], 2)).toBe(0);
  });

  it("computes the extent of many values", () => {
    const many = new Float64Array(300_000);
    [many[7], many[8], many[9]] = [-2, NaN, 3];
    expect(extent(many)).toEqual([-2, 3]);
    expect(extent([NaN, NaN])).toEqual([NaN, NaN]);
  });

  it("describes ranks without claiming 100%", () => {
    expect(describeRank(0.999)).toBe("Likely anomaly: more anomalous than 99% of all items.");
    expect(describeRank(0.93)).toContain("93%");
    expect(describeRank(0.6)).toBe("Typical item: more anomalous than 60% of all items.");
  });

  it("draws a closed path", () => {
    expect(silhouette(Float32Array.of(1, 2))).toBe("M0 1V0.500H1V0.000H2V1Z");
    expect(silhouette(Float32Array.of(0, 0))).toBe("M0 1V1.000H1V1.000H2V1Z");
  });
});

describe("latents", () => {
  it("selects the most active latents, all or a filter", () => {
    const order = Array.from({ length: 40 }, (_, i) => 39 - i);
    expect(shownLatents(order, "", false)).toHaveLength(32);
    expect(shownLatents(order, "", false)[0]).toBe(39);
    expect(shownLatents(order, "", true)).toHaveLength(40);
    expect(shownLatents(order, "z7, 1-3", false)).toEqual([6, 2, 1, 0]);
    expect(shownLatents(order, "900", false)).toHaveLength(32);
    expect(shownLatents(order, "1000-39", false)).toEqual([39, 38]);
  });

  it("numbers latents from 1", () => {
    expect(nameOf(0)).toBe("z1");
  });

  it("formats values without negative zero", () => {
    expect(readout(-1.256)).toBe("−1.26");
    expect(readout(-0.001)).toBe("0.00");
  });

  it("draws each latent over its own range", () => {
    const [a, b] = shapesOf(Float32Array.of(0, 9, 0, 9), [[0, 1], [0, 10]]);
    expect(a).toMatch(/^M0 1V0.000H1V1.000/);
    expect(b).toMatch(/^M0 1V1.000H1/);
  });

  it("draws a normal with its maximum at 0", () => {
    expect(normalShape([-4, 4]).split("V")[25]).toMatch(/^0.00/);
  });
});

describe("pair", () => {
  const labels = Uint8Array.of(0, 1, 0, 2);

  it("steps cyclically, within a class if given", () => {
    expect(step(labels, 4, 3, 1, null)).toBe(0);
    expect(step(labels, 4, 0, -1, null)).toBe(3);
    expect(step(labels, 4, 0, 1, 0)).toBe(2);
    expect(step(labels, 4, 2, 1, 0)).toBe(0);
    expect(step(labels, 4, 2, 1, 7)).toBe(2);
    expect(step(null, 1, 0, 1, null)).toBe(0);
  });

  it("prefers a different class", () => {
    expect(labels[otherRow(labels, 4, 0)]).not.toBe(0);
    expect(otherRow(Uint8Array.of(1, 1, 1), 3, 0)).toBe(1);
    expect(otherRow(null, 1, 0)).toBe(0);
  });

  it("swings back and forth", () => {
    expect([0, 0.5, 1, 1.5, 2, 2.25].map(swing)).toEqual([0, 0.5, 1, 0.5, 0, 0.25]);
  });
});

describe("labels", () => {
  const column = (
    name: string,
    array: string,
    categories: string[] | null = null,
    feature: number | null = null,
  ): Column => ({ name, array, categories, feature });
  const about = {
    columns: [
      column("size", "c0"),
      column("label", "c1", ["a"]),
      column("−ELBO", "c2"),
      column("label", "c3", null, 0), // a feature may have any name
    ],
    scores: [{ name: "−ELBO", array: "c2", unit: "nats" }],
  } as unknown as Manifest;

  it("excludes scores and table features", () => {
    expect(labelColumns(about).map((c) => c.name)).toEqual(["size", "label"]);
  });

  it("uses the first column with classes", () => {
    expect(classColumn(about)?.name).toBe("label");
  });
});
