import { expect, test } from "vitest";
import {
  analogy,
  boundsOf,
  Density,
  draws,
  Inverse,
  linear,
  nearest,
  normal,
  project,
  random,
  rangeOf,
  spherical,
  unproject,
} from "../src/latent";
import type { MapPlane } from "../src/manifest";

const close = (a: ArrayLike<number>, b: ArrayLike<number>, digits = 5) => {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) expect(a[i]).toBeCloseTo(b[i], digits);
};

/** Three-dimensional codes whose third latent depends on the first. */
function bent(n: number) {
  const next = random(3);
  const components = [[1, 0, 0], [0, 1, 0]];
  const plane: MapPlane = { kind: "pca", axes: ["a", "b"], mean: [1, 2, 3], components };
  const points = new Float32Array(2 * n);
  const codes = new Float32Array(3 * n);
  for (let i = 0; i < n; i++) {
    const [x, y] = [normal(next), normal(next)];
    points.set([x, y], 2 * i);
    codes.set([1 + x, 2 + y, 3 + 2 * x], 3 * i);
  }
  return { plane, points, codes };
}

test("random numbers repeat for a seed and lie in [0, 1)", () => {
  const [a, b] = [random(7), random(7)];
  const values = Array.from({ length: 1000 }, a);
  expect(values).toEqual(Array.from({ length: 1000 }, b));
  expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...values)).toBeLessThan(1);
  expect(values.reduce((s, v) => s + v, 0) / 1000).toBeCloseTo(0.5, 1);
  expect(random(8)()).not.toBe(random(7)());
});

test("normal numbers have mean 0 and variance 1", () => {
  const next = random(1);
  const values = Array.from({ length: 20_000 }, () => normal(next));
  const mean = values.reduce((s, v) => s + v, 0) / values.length;
  const variance = values.reduce((s, v) => s + (v - mean) ** 2, 0) / values.length;
  expect(mean).toBeCloseTo(0, 1);
  expect(variance).toBeCloseTo(1, 1);
});

test("linear and spherical paths start at a and end at b", () => {
  const [a, b] = [[1, 2, 3], [-2, 0.5, 4]];
  for (const path of [linear, spherical]) {
    close(path(a, b, 0), a);
    close(path(a, b, 1), b);
  }
  close(linear(a, b, 0.5), [-0.5, 1.25, 3.5]);
});

test("spherical interpolation keeps the norm and turns at a constant rate", () => {
  close(spherical([2, 0], [0, 2], 0.5), [Math.SQRT2, Math.SQRT2]);
  close(spherical([2, 0], [0, 2], 1 / 3), [2 * Math.cos(Math.PI / 6), 2 * Math.sin(Math.PI / 6)]);
  expect(Math.hypot(...spherical([1, 0], [0, 3], 0.5))).toBeCloseTo(2, 5);
});

test("spherical interpolation is linear for zero, parallel or opposite codes", () => {
  close(spherical([0, 0], [1, 1], 0.5), [0.5, 0.5]);
  close(spherical([1, 1], [2, 2], 0.5), [1.5, 1.5]);
  close(spherical([1, 0], [-1, 0], 0.5), [0, 0]);
});

test("analogy computes a − b + c", () => {
  close(analogy([1, 2], [0.5, 1], [10, 20]), [10.5, 21]);
});

test("draws from a standard prior scale with the temperature", () => {
  const one = draws({ kind: "standard" }, 500, 2, 1, random(0));
  const two = draws({ kind: "standard" }, 500, 2, 2, random(0));
  close(two, one.map((v) => 2 * v));
  expect(one.length).toBe(1000);
});

test("temperature scales precomputed draws around their centres", () => {
  const kept = { centres: Float32Array.of(10, 20, 30, 40), offsets: Float32Array.of(1, -1, 2, -2) };
  const cold = draws({ kind: "draws", n: 2, parts: 1 }, 50, 2, 0, random(0), kept);
  const warm = draws({ kind: "draws", n: 2, parts: 1 }, 50, 2, 1, random(0), kept);
  const pair = (z: Float32Array, i: number) => `${z[2 * i]},${z[2 * i + 1]}`;
  const pairs = (z: Float32Array) => new Set(Array.from({ length: 50 }, (_, i) => pair(z, i)));
  expect(pairs(cold)).toEqual(new Set(["10,20", "30,40"]));
  expect(pairs(warm)).toEqual(new Set(["11,19", "32,38"]));
});

test("project undoes unproject", () => {
  const { plane } = bent(1);
  close(project(plane, unproject(plane, 0.3, -0.7)), [0.3, -0.7]);
  const one: MapPlane = { kind: "codes", axes: ["z1", ""], mean: [0], components: [[1]] };
  close(project(one, [1.5]), [1.5, 0]);
  close(unproject(one, 1.5, 0.4), [1.5]);
});

test("Inverse follows nearby items off the plane and projects back to the same position", () => {
  const { plane, points, codes } = bent(2000);
  const inverse = new Inverse(plane, points, codes, [0.2, 0.2]);
  for (const [x, y] of [[0, 0], [1, 0.5], [-1, 0]]) {
    const code = inverse.at(x, y);
    close(project(plane, code), [x, y], 4);
    expect(code[2]).toBeCloseTo(3 + 2 * x, 0);
  }
  close(inverse.at(50, 50), unproject(plane, 50, 50)); // far from all items, the plane itself
});

test("Inverse without codes, or for a map of two latents, is unproject", () => {
  const { plane } = bent(1);
  close(new Inverse(plane).at(1, 1), [2, 3, 3]);
  const codes: MapPlane = { kind: "codes", axes: ["z1", "z2"], mean: [0, 0], components: [[1, 0], [0, 1]] };
  close(new Inverse(codes, Float32Array.of(5, 5), Float32Array.of(5, 5)).at(1, 2), [1, 2]);
});

test("boundsOf contains all points with a margin, and has a default without points", () => {
  expect(boundsOf(Float32Array.of(0, 0, 10, 20), 0.1)).toEqual({ left: -1, right: 11, bottom: -2, top: 22 });
  expect(boundsOf(new Float32Array())).toEqual({ left: -3, right: 3, bottom: -3, top: 3 });
  expect(boundsOf(Float32Array.of(NaN, 1, 2, 2), 1)).toEqual({ left: 1, right: 3, bottom: 1, top: 3 });
});

test("density is high near items, zero far away, and sums to the number of items", () => {
  const { points } = bent(3000);
  const density = new Density(points);
  expect(density.at(0, 0)).toBeGreaterThan(density.at(2, 0));
  expect(density.at(100, 0)).toBe(0);
  expect(density.values.reduce((a, b) => a + b, 0)).toBeCloseTo(3000, 0);
});

test("trust is the share of items at lower density", () => {
  const { points } = bent(3000);
  const density = new Density(points);
  expect(density.trust(0, 0)).toBeGreaterThan(0.95);
  expect(density.trust(100, 100)).toBe(0);
  const shares = Array.from({ length: 3000 }, (_, i) => density.trust(points[2 * i], points[2 * i + 1]));
  expect(shares.filter((s) => s < 0.25).length / 3000).toBeCloseTo(0.25, 1);
  for (const share of [0.05, 0.5, 0.9]) expect(density.rank(density.level(share))).toBeCloseTo(share, 2);
});

test("each axis has its own kernel width", () => {
  const { points } = bent(2000);
  const density = new Density(points.map((v, k) => (k & 1 ? v / 1000 : v)));
  expect(density.widths[0] / density.widths[1]).toBeCloseTo(1000, -2);
  expect(density.trust(0, 0)).toBeGreaterThan(0.9);
});

test("density handles one point, identical points and no points", () => {
  expect(new Density(Float32Array.of(1, 1)).at(1, 1)).toBeGreaterThan(0);
  expect(new Density(Float32Array.of(1, 1, 1, 1)).trust(1, 1)).toBe(0);
  expect(new Density(new Float32Array()).trust(0, 0)).toBe(0);
});

test("nearest sorts by distance, then by row", () => {
  const codes = Float32Array.of(0, 0, 3, 4, 1, 0, 0, 1, 6, 8);
  const { rows, distances } = nearest(codes, [0, 0], 4);
  expect([...rows]).toEqual([0, 2, 3, 1]);
  close(distances, [0, 1, 1, 5]);
  expect([...nearest(codes, [0, 0], 9).rows]).toEqual([0, 2, 3, 1, 4]);
  expect(nearest(codes, [0, 0], 0).rows.length).toBe(0);
});

test("nearest agrees with a full sort", () => {
  const next = random(5);
  const codes = Float32Array.from({ length: 3 * 400 }, () => normal(next));
  const all = Array.from({ length: 400 }, (_, i) => i);
  const size = (i: number) => Math.hypot(codes[3 * i], codes[3 * i + 1], codes[3 * i + 2]);
  const sorted = all.sort((a, b) => size(a) - size(b)).slice(0, 20);
  expect([...nearest(codes, [0, 0, 0], 20).rows]).toEqual(sorted);
});

test("slider range covers three standard deviations and all codes", () => {
  const latents = { order: [0, 1], activity: [1, 0], mean: [1, 0], std: [2, 0], low: [-9, -1], high: [3, 1] };
  expect(rangeOf(latents, 0)).toEqual([-9, 7]);
  expect(rangeOf(latents, 1)).toEqual([-3, 3]);
});
