import { expect, it } from "vitest";
import { logTicks, ticks } from "../src/views/ticks";

it("finds round numbers within a span", () => {
  expect(ticks({ low: 0.3, high: 10.2 }, 5)).toEqual([2, 4, 6, 8, 10]);
  expect(ticks({ low: -3, high: 3 }, 3)).toEqual([-2, 0, 2]);
});

it("uses logarithmic steps for long axes and even steps for short ones", () => {
  expect(logTicks({ low: 0.9, high: 120 }, 6)).toEqual([1, 2, 5, 10, 20, 50, 100]);
  expect(logTicks({ low: 1, high: 1e6 }, 6)).toEqual([1, 10, 100, 1000, 1e4, 1e5, 1e6]);
  const short = logTicks({ low: 23.6, high: 24.15 }, 6);
  expect(short.map((v) => v.toFixed(1))).toEqual(["23.6", "23.7", "23.8", "23.9", "24.0", "24.1"]);
});
