import { describe, expect, it } from "vitest";
import { fromBase64, gunzip, toArray } from "../src/arrays";

describe("toArray", () => {
  it("reads the given data type", () => {
    const bytes = Float64Array.of(1.5, -2).buffer;
    expect(toArray(bytes, { dtype: "float64", shape: [2] })).toEqual(Float64Array.of(1.5, -2));
    const whole = toArray(Int32Array.of(7, -1).buffer, { dtype: "int32", shape: [2] });
    expect(whole).toEqual(Int32Array.of(7, -1));
  });

  it("converts quantized bytes", () => {
    const spec = { dtype: "uint8", shape: [3], start: -1, step: 0.5 } as const;
    const got = toArray(Uint8Array.of(0, 2, 4).buffer, { ...spec, shape: [3] });
    expect(got).toEqual(Float32Array.of(-1, 0, 1));
  });

  it("starts at 0 by default", () => {
    const got = toArray(Uint8Array.of(0, 255).buffer, { dtype: "uint8", shape: [2], step: 1 / 255 });
    expect([...got]).toEqual([0, 1]);
  });
});

it("decodes base64 with surrounding white space", () => {
  expect([...fromBase64("\n AP+A \n")]).toEqual([0, 255, 128]);
  expect(fromBase64("").length).toBe(0);
});

it("decompresses gzip", async () => {
  const stream = new Blob([Uint8Array.of(1, 2, 3)]).stream().pipeThrough(new CompressionStream("gzip"));
  const packed = new Uint8Array(await new Response(stream).arrayBuffer());
  expect([...new Uint8Array(await gunzip(packed))]).toEqual([1, 2, 3]);
});

it("rejects data that is not gzip", async () => {
  await expect(gunzip(Uint8Array.of(1, 2, 3))).rejects.toThrow();
});
