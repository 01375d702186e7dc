/** The backend of an exported page: encoder and decoder run here, by onnxruntime's wasm. */

import * as ort from "onnxruntime-web/wasm";
import { fromBase64, gunzip, toArray } from "./arrays";
import type { Backend, Completion, Condition, Neighbours, Numbers, Posterior } from "./backend";
import { features, rowsOf } from "./backend";
import { nearest } from "./latent";
import type { Manifest, Run } from "./manifest";

/** Passes of encode and decode behind a repair. */
const PASSES = 12;
/** Milliseconds after which a repair lets the brush be drawn. */
const TURN = 8;

type Graph = Promise<ort.InferenceSession>;

export class PageBackend implements Backend {
  readonly live = false;
  private arrays = new Map<string, Promise<Numbers>>();
  private encoder: Graph;
  private decoder: Graph;
  private queue: Promise<unknown> = Promise.resolve();

  constructor(readonly manifest: Manifest) {
    const engine = startEngine();
    this.encoder = engine.then(() => session("encoder"));
    this.decoder = engine.then(() => session("decoder"));
    for (const graph of [this.encoder, this.decoder]) graph.catch(() => {}); // said where it is used
  }

  array(name: string): Promise<Numbers> {
    const spec = this.manifest.arrays[name];
    if (!spec) return Promise.reject(new Error(`this page holds no array "${name}"`));
    const known = this.arrays.get(name) ?? part(name).then(gunzip).then((b) => toArray(b, spec));
    this.arrays.set(name, known);
    return known;
  }

  async items(rows: ArrayLike<number>): Promise<Float64Array> {
    return rowsOf(await this.array("items"), features(this.manifest), rows);
  }

  async codes(rows: ArrayLike<number>): Promise<Posterior> {
    const d = this.manifest.model.n_components;
    const pick = async (name: string) =>
      Float32Array.from(rowsOf(await this.array(name), d, rows));
    const mean = await pick("codes");
    return { mean, std: this.manifest.model.spread ? await pick("std") : new Float32Array(mean.length) };
  }

  async encode(x: Float64Array, n: number, condition: Condition): Promise<Posterior> {
    const { mean, std } = await this.run(this.encoder, { x: this.tensorOf(x, n), ...this.told(n, condition) });
    return { mean: mean as Float32Array, std: std as Float32Array };
  }

  async decode(z: Float32Array, n: number, condition: Condition): Promise<Float64Array> {
    const code = new ort.Tensor("float32", z, [n, this.manifest.model.n_components]);
    const { x } = await this.run(this.decoder, { z: code, ...this.told(n, condition) });
    return Float64Array.from(x as Float32Array);
  }

  async neighbours(code: Float32Array, k: number): Promise<Neighbours> {
    return nearest(await this.array("codes"), code, k);
  }

  /** Encode and decode again and again, what is known put back each time. */
  async repair(x: Float64Array, hidden: Uint8Array, condition: Condition): Promise<Completion> {
    const { blank } = this.manifest.item;
    const gap = (i: number) => (this.manifest.model.missing ? NaN : blank[i % blank.length]);
    let made = x.map((v, i) => (hidden[i] ? gap(i) : v));
    let since = performance.now();
    for (let pass = 0; pass < PASSES; pass++) {
      const { mean } = await this.encode(made, 1, condition);
      const again = await this.decode(mean, 1, condition);
      made = x.map((v, i) => (hidden[i] ? again[i] : v));
      if (performance.now() - since > TURN) since = await nextTurn();
    }
    return { x: made, std: null };
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

  private told(n: number, condition: Condition): Record<string, ort.Tensor> {
    const width = this.manifest.model.context_width;
    if (!width) return {};
    const c = new Float32Array(n * width);
    for (let i = 0; i < n; i++) c[i * width + (condition ?? width - 1)] = 1;
    return { c: new ort.Tensor("float32", c, [n, width]) };
  }

  /** Run a graph, one at a time: the engine has one thread. */
  private run(graph: Graph, feeds: Record<string, ort.Tensor>): Promise<Record<string, unknown>> {
    const turn = this.queue.then(async () => {
      const results = await (await graph).run(feeds);
      return Object.fromEntries(Object.entries(results).map(([name, t]) => [name, t.data]));
    });
    this.queue = turn.catch(() => {});
    return turn;
  }
}

/** Let the browser draw and listen, and return the time. */
function nextTurn(): Promise<number> {
  return new Promise((resolve) => setTimeout(() => resolve(performance.now())));
}

async function startEngine(): Promise<void> {
  ort.env.wasm.numThreads = 1; // more need headers that no file has
  ort.env.wasm.wasmBinary = await gunzip(await part("engine"));
}

async function session(name: string): Graph {
  return ort.InferenceSession.create(new Uint8Array(await gunzip(await part(name))));
}

type Parts = Record<string, string>;
const waiting = new Map<string, Promise<Uint8Array<ArrayBuffer>>>();

/**
 * Return a part of the page: from an element, or of a folder from the script beside the page,
 * since a page opened from a disk may not read files but may run scripts.
 */
function part(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const element = document.getElementById(`part-${name}`);
  if (element) {
    const bytes = fromBase64(element.textContent ?? "");
    element.remove(); // the text is not needed twice
    return Promise.resolve(bytes);
  }
  const known = waiting.get(name) ?? script(name);
  waiting.set(name, known);
  return known;
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
      reject(new Error(`parts/${name}.js is not beside this page: keep the folder whole`));
    document.head.append(tag);
  });
}
