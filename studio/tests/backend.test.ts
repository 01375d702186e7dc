import { describe, expect, it } from "vitest";
import { itemSize, latest, takeRows } from "../src/backend";
import type { Manifest } from "../src/manifest";

describe("takeRows", () => {
  const table = Float32Array.of(0, 1, 10, 11, 20, 21);

  it("selects rows in the given order, with repetitions", () =>
    expect([...takeRows(table, 2, [2, 0, 2])]).toEqual([20, 21, 0, 1, 20, 21]));

  it("returns nothing for no rows", () => expect(takeRows(table, 2, []).length).toBe(0));
});

it("counts the values of an item", () => {
  const of = (shape: number[]) => itemSize({ item: { shape } } as Manifest);
  expect(of([3, 8, 8])).toBe(192);
  expect(of([])).toBe(1);
});

/** A function whose promises are settled by the test. */
function slow() {
  const called: number[] = [];
  const settle: { yes: () => void; no: () => void }[] = [];
  const call = (n: number) =>
    new Promise<number>((yes, no) => {
      called.push(n);
      settle.push({ yes: () => yes(n), no: () => no(new Error(`no ${n}`)) });
    });
  return { called, settle, call };
}

const turn = () => new Promise((resolve) => setTimeout(resolve));

describe("latest", () => {
  it("calls immediately if no call is in progress", async () => {
    const { call, called, settle } = slow();
    const only = latest(call);
    const answer = only(1);
    expect(called).toEqual([1]);
    settle[0].yes();
    expect(await answer).toBe(1);
  });

  it("runs one call at a time and skips all waiting calls but the last", async () => {
    const { call, called, settle } = slow();
    const only = latest(call);
    const answers = [1, 2, 3, 4].map((n) => only(n));
    expect(called).toEqual([1]);
    expect(await answers[1]).toBeNull();
    expect(await answers[2]).toBeNull();
    settle[0].yes();
    expect(await answers[0]).toBe(1);
    await turn();
    expect(called).toEqual([1, 4]);
    settle[1].yes();
    expect(await answers[3]).toBe(4);
  });

  it("starts the queued call before later ones", async () => {
    const { call, called, settle } = slow();
    const only = latest(call);
    const first = only(1);
    const second = only(2);
    settle[0].yes();
    await first;
    const third = only(3);
    await turn();
    expect(called).toEqual([1, 2]);
    settle[1].yes();
    expect(await second).toBe(2);
    await turn();
    settle[2].yes();
    expect(await third).toBe(3);
  });

  it("continues after a failed call", async () => {
    const { call, settle } = slow();
    const only = latest(call);
    const first = only(1);
    const second = only(2);
    settle[0].no();
    await expect(first).rejects.toThrow("no 1");
    await turn();
    settle[1].yes();
    expect(await second).toBe(2);
  });
});
