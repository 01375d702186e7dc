/** Draws of new codes, from whatever this model draws from. */

import type { Condition } from "../backend";
import { draws, random } from "../latent";
import { backend, manifest } from "../state";

export function newSeed(): number {
  return Math.floor(1e6 * Math.random());
}

/** Draw codes that repeat for a seed; of a prior that knows classes, as it is told. */
export async function drawCodes(
  n: number,
  temperature: number,
  seed: number,
  told: Condition,
): Promise<Float32Array> {
  const { prior, model } = manifest.value;
  if (!prior) throw new Error(whyNoPrior());
  const d = model.n_components;
  if (prior.kind === "standard") return draws(prior, n, d, temperature, random(seed));
  const [centres, offsets] = await Promise.all(
    ["prior_centres", "prior_offsets"].map((name) => backend.value.array(name)),
  );
  const last = prior.parts - 1; // of "unknown", or of all where no class is told
  const start = Math.min(told ?? last, last) * prior.n * d;
  const kept = {
    centres: centres.subarray(start, start + prior.n * d),
    offsets: offsets.subarray(start, start + prior.n * d),
  };
  return draws(prior, n, d, temperature, random(seed), kept);
}

/** What the draws come from, in a sentence. */
export function priorInWords(): string {
  const { prior, model } = manifest.value;
  if (prior?.kind === "standard")
    return "Codes are drawn from the prior, a standard normal, and decoded.";
  return model.spread
    ? "Codes are drawn from the prior this model learned, and decoded."
    : "This model has no prior: codes are drawn from a mixture of normals fitted to its codes.";
}

export function whyNoPrior(): string {
  const reason = manifest.value.rows
    ? "no distribution could be fitted to its codes"
    : "its data is not here to fit one to its codes";
  return `This model has no prior, and ${reason}: there is nothing to draw from.`;
}
