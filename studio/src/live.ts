/** The backend of `isthmus studio`: Python answers on this machine. */

import { toArray } from "./arrays";
import type { Backend, Completion, Condition, Neighbours, Numbers, Posterior } from "./backend";
import { features } from "./backend";
import type { Manifest, Run } from "./manifest";

export class LiveBackend implements Backend {
  readonly live = true;
  private arrays = new Map<string, Promise<Numbers>>();

  private constructor(
    readonly manifest: Manifest,
    private token: string,
  ) {}

  static async open(token: string): Promise<LiveBackend> {
    const answer = await ask("api/manifest", token);
    return new LiveBackend(await answer.json(), token);
  }

  array(name: string): Promise<Numbers> {
    const spec = this.manifest.arrays[name];
    if (!spec) return Promise.reject(new Error(`the studio holds no array "${name}"`));
    const known =
      this.arrays.get(name) ??
      ask(`api/arrays/${encodeURIComponent(name)}`, this.token)
        .then((answer) => answer.arrayBuffer())
        .then((bytes) => toArray(bytes, spec));
    this.arrays.set(name, known);
    known.catch(() => this.arrays.delete(name)); // the next view asks again
    return known;
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

  async decode(z: Float32Array, n: number, condition: Condition): Promise<Float64Array> {
    return new Float64Array(await this.post("decode", z, { n, condition }));
  }

  async neighbours(code: Float32Array, k: number): Promise<Neighbours> {
    const answer = await this.post("neighbours", code, { k });
    const found = answer.byteLength / 8;
    return {
      rows: new Int32Array(answer, 0, found),
      distances: new Float32Array(answer, 4 * found, found),
    };
  }

  async repair(x: Float64Array, hidden: Uint8Array, condition: Condition): Promise<Completion> {
    const known = x.map((v, i) => (hidden[i] ? NaN : v)); // NaN says what is missing
    const answer = new Float64Array(await this.post("repair", known, { condition }));
    const n = features(this.manifest);
    return { x: answer.slice(0, n), std: answer.length > n ? answer.slice(n) : null };
  }

  async licences(): Promise<string> {
    return (await ask("licences.txt", this.token)).text();
  }

  async runs(): Promise<Run[]> {
    return (await ask("api/runs", this.token)).json();
  }

  private async post(
    what: string,
    body: Int32Array<ArrayBuffer> | Float32Array | Float64Array,
    query: Record<string, Condition> = {},
  ): Promise<ArrayBuffer> {
    const given = Object.entries(query).filter(([, v]) => v !== null);
    const words = new URLSearchParams(given.map(([k, v]) => [k, String(v)])).toString();
    const answer = await ask(`api/${what}${words && `?${words}`}`, this.token, body as BodyInit);
    return answer.arrayBuffer();
  }
}

/** Ask the server; an error is the line in which it said what is wrong. */
async function ask(path: string, token: string, body?: BodyInit): Promise<Response> {
  const headers = { "X-Isthmus-Token": token };
  let answer: Response;
  try {
    answer = await fetch(path, body === undefined ? { headers } : { headers, method: "POST", body });
  } catch {
    throw new Error("the studio does not answer: is `isthmus studio` still running?");
  }
  if (!answer.ok) throw new Error(await reason(answer));
  return answer;
}

async function reason(answer: Response): Promise<string> {
  const text = await answer.text();
  try {
    return String(JSON.parse(text).detail);
  } catch {
    return text || `the studio answered ${answer.status}`;
  }
}

/** Means and spreads, one after the other. */
function halves(bytes: ArrayBuffer): Posterior {
  const all = new Float32Array(bytes);
  return { mean: all.slice(0, all.length / 2), std: all.slice(all.length / 2) };
}
