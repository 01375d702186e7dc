import { describe, expect, it } from "vitest";
import { extent, histogram, quantiles, shareBelow, silhouette, strangeness } from "../src/parts/counts";
import { classColumn, labelColumns } from "../src/parts/labels";
import { nameOf, normalShape, readout, shapesOf, shownLatents } from "../src/parts/latents";
import { otherRow, step, swing } from "../src/parts/pair";
import type { Column, Manifest } from "../src/manifest";

describe("counts", () => {
  it("counts in equal bins, with what lies outside at the ends", () => {
    expect([...histogram([0, 0.1, 0.9, 1, -5, 7, NaN], 0, 1, 2)]).toEqual([3, 3]);
  });

  it("counts values that are all the same", () => {
    expect([...histogram([2, 2], 2, 2, 3)]).toEqual([2, 0, 0]);
  });

  it("finds quantiles, without what is missing", () => {
    expect(quantiles([3, NaN, 1, 2], [0, 0.5, 1])).toEqual([1, 2, 3]);
    expect(quantiles([], [0.5])).toEqual([NaN]);
  });

  it("finds the share that is smaller", () => {
    expect(shareBelow([1, 2, 3, 4], 3)).toBe(0.5);
    expect(shareBelow([NaN, 1], 2)).toBe(1);
    expect(shareBelow([], 2)).toBe(0);
  });

  it("finds the ends of more values than a call takes arguments", () => {
    const many = new Float64Array(300_000);
    [many[7], many[8], many[9]] = [-2, NaN, 3];
    expect(extent(many)).toEqual([-2, 3]);
    expect(extent([NaN, NaN])).toEqual([NaN, NaN]);
  });

  it("never says that an item is stranger than all", () => {
    expect(strangeness(0.999)).toContain("99%");
    expect(strangeness(0.93)).toContain("93%");
    expect(strangeness(0.6)).toContain("ordinary");
    expect(strangeness(0.25)).toContain("than only 25%"); // of equals none is stranger
  });

  it("outlines counts from the bottom to the bottom", () => {
    expect(silhouette(Float32Array.of(1, 2))).toBe("M0 1V0.500H1V0.000H2V1Z");
    expect(silhouette(Float32Array.of(0, 0))).toBe("M0 1V1.000H1V1.000H2V1Z");
  });
});

describe("latents", () => {
  it("shows the most active few, all, or those named", () => {
    const order = Array.from({ length: 40 }, (_, i) => 39 - i);
    expect(shownLatents(order, "", false)).toHaveLength(32);
    expect(shownLatents(order, "", false)[0]).toBe(39);
    expect(shownLatents(order, "", true)).toHaveLength(40);
    expect(shownLatents(order, "z7, 1-3", false)).toEqual([6, 2, 1, 0]);
    expect(shownLatents(order, "900", false)).toHaveLength(32);
    expect(shownLatents(order, "1000-39", false)).toEqual([39, 38]);
  });

  it("numbers latents from 1 as the report does", () => {
    expect(nameOf(0)).toBe("z1");
  });

  it("reads values out without a negative nothing", () => {
    expect(readout(-1.256)).toBe("−1.26");
    expect(readout(-0.001)).toBe("0.00");
  });

  it("outlines each latent over its own range", () => {
    const [a, b] = shapesOf(Float32Array.of(0, 9, 0, 9), [[0, 1], [0, 10]]);
    expect(a).toMatch(/^M0 1V0.000H1V1.000/);
    expect(b).toMatch(/^M0 1V1.000H1/);
  });

  it("outlines a normal that is highest about 0", () => {
    expect(normalShape([-4, 4]).split("V")[25]).toMatch(/^0.00/);
  });
});

describe("pair", () => {
  const labels = Uint8Array.of(0, 1, 0, 2);

  it("steps round and round, within a class where one is wanted", () => {
    expect(step(labels, 4, 3, 1, null)).toBe(0);
    expect(step(labels, 4, 0, -1, null)).toBe(3);
    expect(step(labels, 4, 0, 1, 0)).toBe(2);
    expect(step(labels, 4, 2, 1, 0)).toBe(0);
    expect(step(labels, 4, 2, 1, 7)).toBe(2);
    expect(step(null, 1, 0, 1, null)).toBe(0);
  });

  it("takes another class where there is one", () => {
    expect(labels[otherRow(labels, 4, 0)]).not.toBe(0);
    expect(otherRow(Uint8Array.of(1, 1, 1), 3, 0)).toBe(1);
    expect(otherRow(null, 1, 0)).toBe(0);
  });

  it("swings there and back", () => {
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

  it("leaves out scores and the features of a table", () => {
    expect(labelColumns(about).map((c) => c.name)).toEqual(["size", "label"]);
  });

  it("looks items up by the first column with classes", () => {
    expect(classColumn(about)?.name).toBe("label");
  });
});
