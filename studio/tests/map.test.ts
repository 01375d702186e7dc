import { expect, test } from "vitest";
import { Camera } from "../src/views/map/camera";
import { contours } from "../src/views/map/contours";
import { rowAt, rowsInside } from "../src/views/map/hitTest";
import { means, rowsOfClass, tenth } from "../src/views/map/selectedRows";
import { byClass, byNumber, faded } from "../src/views/map/pointColours";
import { gridOf } from "../src/views/map/tiles";

const BOX = { left: -2, right: 2, bottom: -1, top: 1 };

function camera() {
  const made = new Camera(400, 400);
  made.fit(BOX);
  return made;
}

test("fit shows the whole box with equal scales", () => {
  const c = camera();
  expect([c.sx, c.sy]).toEqual([100, 100]);
  expect(c.toScreen(-2, 1)).toEqual([0, 100]);
  expect(c.toPlace(0, 100)).toEqual([-2, 1]);
});

test("fit stretches a very flat box to fill the view", () => {
  const c = new Camera(400, 400);
  c.fit({ ...BOX, bottom: -0.01, top: 0.01 });
  expect(c.toScreen(2, 0.01)).toEqual([400, 0]);
});

test("zoom keeps the position under the pointer and is limited", () => {
  const c = camera();
  const before = c.toPlace(50, 70);
  c.zoom(3, 50, 70);
  expect(c.toPlace(50, 70)[0]).toBeCloseTo(before[0]);
  expect(c.zoomLevel).toBeCloseTo(3);
  for (let k = 0; k < 50; k++) c.zoom(3);
  expect(c.zoomLevel).toBeLessThan(1000);
  for (let k = 0; k < 99; k++) c.zoom(1 / 3);
  expect(c.zoomLevel).toBeGreaterThan(0.1);
});

test("panning moves the background with the pointer", () => {
  const c = camera();
  const place = c.toPlace(100, 100);
  c.pan(10, -5);
  const [x, y] = c.toScreen(...place);
  expect(x).toBeCloseTo(110);
  expect(y).toBeCloseTo(95);
});

test("contour of a hill is one closed line at its level, with the hill on the left", () => {
  const hill = (i: number, j: number) => 10 - Math.hypot(i - 20, j - 20);
  const loops = contours(hill, 41, 4);
  expect(loops.length).toBe(1);
  let area = 0;
  const [line] = loops;
  const n = line.length / 2;
  for (let k = 0; k < n; k++) {
    const [x, y] = [line[2 * k], line[2 * k + 1]];
    expect(Math.hypot(x - 20, y - 20)).toBeCloseTo(6, 0);
    const m = (k + 1) % n;
    area += (x * line[2 * m + 1] - line[2 * m] * y) / 2;
  }
  expect(area).toBeGreaterThan(0.97 * Math.PI * 36);
});

test("contours with holes, several hills and clipped hills are closed", () => {
  const ring = (i: number, j: number) => 20 - Math.abs(Math.hypot(i - 20, j - 20) - 10);
  expect(contours(ring, 41, 17).length).toBe(2);
  const two = (i: number, j: number) =>
    60 - Math.min(Math.hypot(i - 8, j - 8), Math.hypot(i - 30, j - 30));
  expect(contours(two, 41, 56).length).toBe(2);
  expect(contours(() => 1, 5, 0.5).length).toBe(1);
  const chess = (i: number, j: number) => (i + j) % 2;
  for (const loop of contours(chess, 6, 0.4)) expect(loop.length).toBeGreaterThanOrEqual(8);
});

const POINTS = Float32Array.of(0, 0, 1, 0, 1, 1, 0, 1, 0.5, 0.5);

test("the row under the pointer is the nearest visible one on the screen", () => {
  expect(rowAt(POINTS, [0.9, 0.9], [10, 10], 5)).toBe(2);
  expect(rowAt(POINTS, [0.9, 0.9], [100, 100], 5)).toBe(-1);
  expect(rowAt(POINTS, [0.9, 0.9], [10, 10], 9, Uint8Array.of(0, 0, 1, 0, 0))).toBe(4);
});

test("a lasso selects visible points inside", () => {
  const square = [[-0.1, -0.1], [0.6, -0.1], [0.6, 1.1], [-0.1, 1.1]] as [number, number][];
  expect([...rowsInside(POINTS, square)]).toEqual([0, 3, 4]);
  expect([...rowsInside(POINTS, square, Uint8Array.of(1, 0, 0, 0, 0))]).toEqual([3, 4]);
  expect(rowsInside(POINTS, []).length).toBe(0);
});

test("means are computed over a selection and over the rest", () => {
  const codes = Float32Array.of(0, 0, 2, 4, 10, 10, 20, 30);
  const { inside, rest } = means(codes, 2, Int32Array.of(0, 1));
  expect([...inside]).toEqual([1, 2]);
  expect([...rest!]).toEqual([15, 20]);
  expect(means(codes, 2, Int32Array.of(0, 1, 2, 3)).rest).toBe(null);
});

test("rows are selected by class or by lowest or highest 10%", () => {
  expect([...rowsOfClass(Uint16Array.of(1, 0, 1), 1)]).toEqual([0, 2]);
  const numbers = Float32Array.from({ length: 100 }, (_, i) => (i ? i : NaN));
  expect([...tenth(numbers, "highest")][0]).toBeGreaterThan(85);
  expect(Math.max(...tenth(numbers, "lowest"))).toBeLessThan(15);
});

test("more than ten classes share colours", () => {
  const names = Array.from({ length: 12 }, (_, k) => `c${k}`);
  const { palette, of, legend } = byClass(Uint16Array.of(0, 10, 10, 99), names);
  expect(palette[0]).toBe(palette[10]);
  expect([...of]).toEqual([0, 10, 10, 12]);
  expect(legend).toMatchObject({ shared: true, counts: expect.arrayContaining([1, 2]) });
  expect(byClass(Uint16Array.of(0), ["a"]).legend).toMatchObject({ shared: false });
});

test("outliers do not compress the scale, and missing values have their own colour", () => {
  const values = Float32Array.from({ length: 1001 }, (_, i) => i);
  values[1000] = 1e9;
  values[0] = NaN;
  const { of, palette, legend } = byNumber(values);
  expect(legend).toMatchObject({ kind: "numbers", missing: 1, beyond: [true, true] });
  expect((legend as { high: number }).high).toBeLessThan(1000);
  expect(of[0]).toBe(palette.length - 1);
  expect(of[1000]).toBe(palette.length - 2);
  expect(of[500]).toBeGreaterThan(of[100]);
  expect(byNumber(Float32Array.of(2, 2)).of[0]).toBe(0);
});

test("other classes and points outside the lasso are faded", () => {
  const colours = byClass(Uint16Array.of(0, 1, 1), ["a", "b"]);
  expect(faded(colours, null, new Int32Array())).toBe(null);
  expect([...faded(colours, 1, new Int32Array())!]).toEqual([1, 0, 0]);
  expect([...faded(colours, 1, Int32Array.of(0, 2))!]).toEqual([1, 1, 0]);
});

test("tiles cover the view, are limited in number and aligned to the origin", () => {
  const c = camera();
  c.pan(13, 37);
  const grid = gridOf(c, 2, false, 60);
  expect(grid.columns * grid.rows).toBeLessThanOrEqual(60);
  expect(grid.left).toBeLessThanOrEqual(c.box.left);
  expect(grid.left + grid.columns * grid.width).toBeGreaterThanOrEqual(c.box.right);
  expect(grid.bottom + grid.rows * grid.height).toBeGreaterThanOrEqual(c.box.top);
  expect(Math.abs((grid.left / grid.width) % 1)).toBeCloseTo(0);
  expect((grid.width * c.sx) / (grid.height * c.sy)).toBeCloseTo(2);
  expect(gridOf(c, 1, true, 60)).toMatchObject({ rows: 1 });
});
