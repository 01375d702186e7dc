/** Sampling of codes from the prior. */

import type { Condition } from "../backend";
import { draws, random } from "../latent";
import { backend, manifest } from "../state";

export function newSeed(): number {
  return Math.floor(1e6 * Math.random());
}

/** Draw codes for a seed and, with a conditional prior, a class. */
export async function drawCodes(
  n: number,
  temperature: number,
  seed: number,
  condition: Condition,
): Promise<Float32Array> {
  const { prior, model } = manifest.value;
  if (!prior) throw new Error(whyNoPrior());
  const d = model.n_components;
  if (prior.kind === "standard") return draws(prior, n, d, temperature, random(seed));
  const [centres, offsets] = await Promise.all(
    ["prior_centres", "prior_offsets"].map((name) => backend.value.array(name)),
  );
  const last = prior.parts - 1; // "unknown", or the only part of an unconditional prior
  const start = Math.min(condition ?? last, last) * prior.n * d;
  const kept = {
    centres: centres.subarray(start, start + prior.n * d),
    offsets: offsets.subarray(start, start + prior.n * d),
  };
  return draws(prior, n, d, temperature, random(seed), kept);
}

/** Describe the distribution that codes are drawn from. */
export function priorInWords(): string {
  const { prior, model } = manifest.value;
  if (prior?.kind === "standard")
    return "Samples are decoded draws from the prior, a standard normal distribution.";
  return model.has_std
    ? "Samples are decoded draws from the learned prior."
    : "This model has no prior; samples are decoded draws from a Gaussian mixture fitted to its codes.";
}

export function whyNoPrior(): string {
  const reason = manifest.value.rows
    ? "no distribution could be fitted to its codes"
    : "the data needed to fit one to its codes is not available";
  return `Sampling is not available: this model has no prior, and ${reason}.`;
}
