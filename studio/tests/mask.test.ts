import { describe, expect, test } from "vitest";
import { hiddenCount, hiddenError, missingFrom, emptyMask, preset, stroke } from "../src/mask";
import { random } from "../src/latent";

const grid = { width: 8, height: 6 };
const at = (x: number, y: number) => ({ x, y });

/** The mask as lines of text. */
function drawn(mask: Uint8Array, { width } = grid): string[] {
  const text = Array.from(mask, (v) => (v ? "#" : ".")).join("");
  return text.match(new RegExp(`.{${width}}`, "g"))!;
}

describe("stroke", () => {
  test("a single dab is round", () => {
    const mask = stroke(emptyMask(grid), grid, at(3.5, 2.5), at(3.5, 2.5), 2, 1);
    expect(drawn(mask)).toEqual([
      "...#....",
      "..###...",
      ".#####..",
      "..###...",
      "...#....",
      "........",
    ]);
  });

  test("leaves no gaps, however thin the brush", () => {
    for (const [x, y] of [[7.9, 5.9], [7.5, 1.2], [0.1, 5.9], [4.4, 5.5]]) {
      const mask = stroke(emptyMask(grid), grid, at(0.1, 0.1), at(x, y), 0, 1);
      const steps = Math.max(Math.floor(x), Math.floor(y)) + 1;
      expect(hiddenCount(mask)).toBeGreaterThanOrEqual(steps);
    }
  });

  test("clips strokes at the edge", () => {
    const mask = stroke(emptyMask(grid), grid, at(-5, 2.5), at(1.5, 2.5), 0.5, 1);
    expect(drawn(mask)[2]).toBe("##......");
    expect(hiddenCount(mask)).toBe(2);
    expect(hiddenCount(stroke(mask, grid, at(20, -9), at(30, -9), 2, 1))).toBe(2);
  });

  test("erases without changing the given mask", () => {
    const full = emptyMask(grid).fill(1);
    const mask = stroke(full, grid, at(0.5, 0.5), at(7.5, 0.5), 0.5, 0);
    expect(drawn(mask)[0]).toBe("........");
    expect(hiddenCount(full)).toBe(48);
    expect(hiddenCount(mask)).toBe(40);
  });

  test("hides a part of a signal", () => {
    const line = { width: 8, height: 1 };
    const mask = stroke(emptyMask(line), line, at(6.2, 0.5), at(2.5, 0.5), 0, 1);
    expect(drawn(mask, line)).toEqual(["..#####."]);
  });
});

describe("preset", () => {
  test("halves and the centre", () => {
    expect(drawn(preset("left", grid, Math.random))[0]).toBe("####....");
    expect(drawn(preset("right", grid, Math.random))[5]).toBe("....####");
    expect(hiddenCount(preset("top", grid, Math.random))).toBe(24);
    expect(drawn(preset("bottom", grid, Math.random))[3]).toBe("########");
    expect(drawn(preset("centre", grid, Math.random))[2]).toBe("..####..");
    expect(drawn(preset("centre", grid, Math.random))[0]).toBe("........");
  });

  test("random hides about half, reproducibly", () => {
    const big = { width: 100, height: 100 };
    const mask = preset("random", big, random(1));
    expect(Math.abs(hiddenCount(mask) - 5000)).toBeLessThan(200); // four standard deviations
    expect(mask).toEqual(preset("random", big, random(1)));
  });
});

test("a pixel mask hides all channels and keeps missing values", () => {
  const x = [1, 2, 3, NaN, 5, 6];
  expect([...missingFrom(x, Uint8Array.of(0, 1, 0))]).toEqual([0, 1, 0, 1, 1, 0]);
});

test("the error covers hidden values with known truth", () => {
  const hidden = Uint8Array.of(1, 0, 1, 1);
  expect(hiddenError([1, 9, 3, 5], [0, 0, 1, NaN], hidden)).toBeCloseTo((1 + 4) / 2);
  expect(hiddenError([1], [0], Uint8Array.of(0))).toBeNaN();
});
