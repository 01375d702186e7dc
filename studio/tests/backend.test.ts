import { describe, expect, it } from "vitest";
import { features, latest, rowsOf } from "../src/backend";
import type { Manifest } from "../src/manifest";

describe("rowsOf", () => {
  const table = Float32Array.of(0, 1, 10, 11, 20, 21);

  it("picks rows in the order asked, one twice if asked twice", () =>
    expect([...rowsOf(table, 2, [2, 0, 2])]).toEqual([20, 21, 0, 1, 20, 21]));

  it("answers nothing with nothing", () => expect(rowsOf(table, 2, []).length).toBe(0));
});

it("counts the numbers of an item", () => {
  const of = (shape: number[]) => features({ item: { shape } } as Manifest);
  expect(of([3, 8, 8])).toBe(192);
  expect(of([])).toBe(1);
});

/** A question whose answers come when the test says so. */
function slow() {
  const asked: number[] = [];
  const settle: { yes: () => void; no: () => void }[] = [];
  const ask = (n: number) =>
    new Promise<number>((yes, no) => {
      asked.push(n);
      settle.push({ yes: () => yes(n), no: () => no(new Error(`no ${n}`)) });
    });
  return { asked, settle, ask };
}

const turn = () => new Promise((resolve) => setTimeout(resolve));

describe("latest", () => {
  it("asks at once when nothing is under way", async () => {
    const { ask, asked, settle } = slow();
    const only = latest(ask);
    const answer = only(1);
    expect(asked).toEqual([1]);
    settle[0].yes();
    expect(await answer).toBe(1);
  });

  it("has one call under way, and of those that wait asks only the last", async () => {
    const { ask, asked, settle } = slow();
    const only = latest(ask);
    const answers = [1, 2, 3, 4].map((n) => only(n));
    expect(asked).toEqual([1]);
    expect(await answers[1]).toBeNull();
    expect(await answers[2]).toBeNull();
    settle[0].yes();
    expect(await answers[0]).toBe(1);
    await turn();
    expect(asked).toEqual([1, 4]);
    settle[1].yes();
    expect(await answers[3]).toBe(4);
  });

  it("lets none come between the end of one call and the start of the one that waits", async () => {
    const { ask, asked, settle } = slow();
    const only = latest(ask);
    const first = only(1);
    const second = only(2);
    settle[0].yes();
    await first;
    const third = only(3);
    await turn();
    expect(asked).toEqual([1, 2]);
    settle[1].yes();
    expect(await second).toBe(2);
    await turn();
    settle[2].yes();
    expect(await third).toBe(3);
  });

  it("goes on after a call that failed", async () => {
    const { ask, settle } = slow();
    const only = latest(ask);
    const first = only(1);
    const second = only(2);
    settle[0].no();
    await expect(first).rejects.toThrow("no 1");
    await turn();
    settle[1].yes();
    expect(await second).toBe(2);
  });
});
