/** The backend of an exported page, which runs encoder and decoder with onnxruntime's WebAssembly. */

import * as ort from "onnxruntime-web/wasm";
import { fromBase64, gunzip, toArray } from "./arrays";
import type { Backend, Imputation, Condition, Neighbours, Numbers, Posterior } from "./backend";
import { itemSize, takeRows } from "./backend";
import { nearest } from "./latent";
import type { Manifest, Run } from "./manifest";

/** Encode-decode iterations of an imputation. */
const PASSES = 12;
/** Milliseconds after which an imputation yields to the event loop. */
const YIELD_AFTER = 8;

type Session = Promise<ort.InferenceSession>;

export class PageBackend implements Backend {
  readonly live = false;
  private arrays = new Map<string, Promise<Numbers>>();
  private encoder: Session;
  private decoder: Session;
  private queue: Promise<unknown> = Promise.resolve();

  constructor(readonly manifest: Manifest) {
    const engine = startEngine();
    this.encoder = engine.then(() => createSession("encoder"));
    this.decoder = engine.then(() => createSession("decoder"));
    for (const session of [this.encoder, this.decoder]) session.catch(() => {}); // reported where the session is used
  }

  array(name: string): Promise<Numbers> {
    const spec = this.manifest.arrays[name];
    if (!spec) return Promise.reject(new Error(`unknown array "${name}"`));
    const array = this.arrays.get(name) ?? part(name).then(gunzip).then((b) => toArray(b, spec));
    this.arrays.set(name, array);
    return array;
  }

  async items(rows: ArrayLike<number>): Promise<Float64Array> {
    return takeRows(await this.array("items"), itemSize(this.manifest), rows);
  }

  async codes(rows: ArrayLike<number>): Promise<Posterior> {
    const d = this.manifest.model.n_components;
    const pick = async (name: string) =>
      Float32Array.from(takeRows(await this.array(name), d, rows));
    const mean = await pick("codes");
    return { mean, std: this.manifest.model.has_std ? await pick("std") : new Float32Array(mean.length) };
  }

  async encode(x: Float64Array, n: number, condition: Condition): Promise<Posterior> {
    const { mean, std } = await this.run(this.encoder, { x: this.tensorOf(x, n), ...this.condition(n, condition) });
    return { mean: mean as Float32Array, std: std as Float32Array };
  }

  async decode(z: Float32Array, n: number, condition: Condition): Promise<Float64Array> {
    const code = new ort.Tensor("float32", z, [n, this.manifest.model.n_components]);
    const { x } = await this.run(this.decoder, { z: code, ...this.condition(n, condition) });
    return Float64Array.from(x as Float32Array);
  }

  async neighbours(code: Float32Array, k: number): Promise<Neighbours> {
    return nearest(await this.array("codes"), code, k);
  }

  /** Impute by repeated encoding and decoding, with the known values restored each time. */
  async impute(x: Float64Array, hidden: Uint8Array, condition: Condition): Promise<Imputation> {
    const { fill } = this.manifest.item;
    const initial = (i: number) => (this.manifest.model.accepts_nan ? NaN : fill[i % fill.length]);
    let values = x.map((v, i) => (hidden[i] ? initial(i) : v));
    let lastYield = performance.now();
    for (let pass = 0; pass < PASSES; pass++) {
      const { mean } = await this.encode(values, 1, condition);
      const decoded = await this.decode(mean, 1, condition);
      values = x.map((v, i) => (hidden[i] ? decoded[i] : v));
      if (performance.now() - lastYield > YIELD_AFTER) lastYield = await nextTurn();
    }
    return { x: values, std: null };
  }

  async runs(): Promise<Run[]> {
    return this.manifest.runs;
  }

  async licences(): Promise<string> {
    return new TextDecoder().decode(await gunzip(await part("licences")));
  }

  private tensorOf(x: Float64Array, n: number): ort.Tensor {
    const shape = [n, ...this.manifest.item.shape];
    return this.manifest.model.x_dtype === "float64"
      ? new ort.Tensor("float64", x, shape)
      : new ort.Tensor("float32", Float32Array.from(x), shape);
  }

  private condition(n: number, condition: Condition): Record<string, ort.Tensor> {
    const width = this.manifest.model.condition_width;
    if (!width) return {};
    const c = new Float32Array(n * width);
    for (let i = 0; i < n; i++) c[i * width + (condition ?? width - 1)] = 1;
    return { c: new ort.Tensor("float32", c, [n, width]) };
  }

  /** Run a session; calls are serialized, because the engine has one thread. */
  private run(session: Session, feeds: Record<string, ort.Tensor>): Promise<Record<string, unknown>> {
    const turn = this.queue.then(async () => {
      const results = await (await session).run(feeds);
      return Object.fromEntries(Object.entries(results).map(([name, t]) => [name, t.data]));
    });
    this.queue = turn.catch(() => {});
    return turn;
  }
}

/** Yield to the event loop and return the time. */
function nextTurn(): Promise<number> {
  return new Promise((resolve) => setTimeout(() => resolve(performance.now())));
}

async function startEngine(): Promise<void> {
  ort.env.wasm.numThreads = 1; // threads require HTTP headers, which a file does not have
  ort.env.wasm.wasmBinary = await gunzip(await part("engine"));
}

async function createSession(name: string): Session {
  return ort.InferenceSession.create(new Uint8Array(await gunzip(await part(name))));
}

type Parts = Record<string, string>;
const waiting = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();

/**
 * Load a part of the page: from an element of a single file, or from a script in an exported
 * folder, because a page opened from disk may run scripts but not read files.
 */
function part(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const element = document.getElementById(`part-${name}`);
  if (element) {
    const bytes = fromBase64(element.textContent ?? "");
    element.remove(); // free the memory
    return Promise.resolve(bytes);
  }
  const array = waiting.get(name) ?? script(name);
  waiting.set(name, array);
  return array;
}

function script(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const parts = ((window as unknown as { isthmusParts?: Parts }).isthmusParts ??= {});
  return new Promise((resolve, reject) => {
    const tag = document.createElement("script");
    tag.src = `parts/${name}.js`;
    tag.onload = () => {
      resolve(fromBase64(parts[name]));
      delete parts[name];
    };
    tag.onerror = () =>
      reject(new Error(`parts/${name}.js is missing next to this page. Copy the complete folder.`));
    document.head.append(tag);
  });
}
