/** Conversion of bytes to typed arrays. */

import type { Numbers } from "./backend";
import type { ArraySpec } from "./manifest";

const TYPES = {
  float32: Float32Array,
  float64: Float64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  int32: Int32Array,
};

/** Decode an array of the bundle; quantized bytes are converted to the values they represent. */
export function toArray(bytes: ArrayBuffer, spec: ArraySpec): Numbers {
  const raw = new TYPES[spec.dtype](bytes);
  if (spec.step === undefined) return raw;
  const { start = 0, step } = spec;
  return Float32Array.from(raw, (v) => start + step * v);
}

/** Decode base64 text. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const raw = atob(text.trim());
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

export async function gunzip(bytes: Uint8Array<ArrayBuffer>): Promise<ArrayBuffer> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
