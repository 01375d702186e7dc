/** The backend of `isthmus studio`, which queries the Python server. */

import { toArray } from "./arrays";
import type { Backend, Imputation, Condition, Neighbours, Numbers, Posterior } from "./backend";
import { itemSize } from "./backend";
import type { Manifest, Run } from "./manifest";

export class LiveBackend implements Backend {
  readonly live = true;
  private arrays = new Map<string, Promise<Numbers>>();

  private constructor(
    readonly manifest: Manifest,
    private token: string,
  ) {}

  static async open(token: string): Promise<LiveBackend> {
    const response = await request("api/manifest", token);
    return new LiveBackend(await response.json(), token);
  }

  array(name: string): Promise<Numbers> {
    const spec = this.manifest.arrays[name];
    if (!spec) return Promise.reject(new Error(`unknown array "${name}"`));
    const array =
      this.arrays.get(name) ??
      request(`api/arrays/${encodeURIComponent(name)}`, this.token)
        .then((response) => response.arrayBuffer())
        .then((bytes) => toArray(bytes, spec));
    this.arrays.set(name, array);
    array.catch(() => this.arrays.delete(name)); // retry on the next request
    return array;
  }

  async items(rows: ArrayLike<number>): Promise<Float64Array> {
    return new Float64Array(await this.post("items", Int32Array.from(rows)));
  }

  async codes(rows: ArrayLike<number>): Promise<Posterior> {
    return halves(await this.post("codes", Int32Array.from(rows)));
  }

  async encode(x: Float64Array, n: number, condition: Condition): Promise<Posterior> {
    return halves(await this.post("encode", x, { n, condition }));
  }

  async decode(z: Float32Array, n: number, condition: Condition, seed?: number): Promise<Float64Array> {
    const drawn = seed === undefined ? null : seed % 2 ** 32;
    return new Float64Array(await this.post("decode", z, { n, condition, seed: drawn }));
  }

  async neighbours(code: Float32Array, k: number): Promise<Neighbours> {
    const response = await this.post("neighbours", code, { k });
    const n = response.byteLength / 8;
    return {
      rows: new Int32Array(response, 0, n),
      distances: new Float32Array(response, 4 * n, n),
    };
  }

  async impute(x: Float64Array, hidden: Uint8Array, condition: Condition): Promise<Imputation> {
    const masked = x.map((v, i) => (hidden[i] ? NaN : v)); // NaN marks missing values
    const response = new Float64Array(await this.post("impute", masked, { condition }));
    const n = itemSize(this.manifest);
    return { x: response.slice(0, n), std: response.length > n ? response.slice(n) : null };
  }

  async licences(): Promise<string> {
    return (await request("licences.txt", this.token)).text();
  }

  async runs(): Promise<Run[]> {
    return (await request("api/runs", this.token)).json();
  }

  private async post(
    what: string,
    body: Int32Array<ArrayBuffer> | Float32Array | Float64Array,
    query: Record<string, Condition> = {},
  ): Promise<ArrayBuffer> {
    const values = Object.entries(query).filter(([, v]) => v !== null);
    const parameters = new URLSearchParams(values.map(([k, v]) => [k, String(v)])).toString();
    const response = await request(`api/${what}${parameters && `?${parameters}`}`, this.token, body as BodyInit);
    return response.arrayBuffer();
  }
}

/** Send a request; throw an Error with the server's message if it fails. */
async function request(path: string, token: string, body?: BodyInit): Promise<Response> {
  const headers = { "X-Isthmus-Token": token };
  let response: Response;
  try {
    response = await fetch(path, body === undefined ? { headers } : { headers, method: "POST", body });
  } catch {
    throw new Error("The studio server does not respond. Check that `isthmus studio` is still running.");
  }
  if (!response.ok) throw new Error(await errorMessage(response));
  return response;
}

async function errorMessage(response: Response): Promise<string> {
  const text = await response.text();
  try {
    return String(JSON.parse(text).detail);
  } catch {
    return text || `The studio server returned status ${response.status}.`;
  }
}

/** Split means and standard deviations. */
function halves(bytes: ArrayBuffer): Posterior {
  const all = new Float32Array(bytes);
  return { mean: all.slice(0, all.length / 2), std: all.slice(all.length / 2) };
}
