/** What the map is drawn from, worked out once for a run. */

import type { Backend, Numbers } from "../../backend";
import { boundsOf, Density, Inverse, project, type Bounds } from "../../latent";
import type { MapPlane } from "../../manifest";
import { drawCodes } from "../../parts/prior";

/** Of the items, this share lies outside the trusted land, and this one on no land at all. */
export const COAST = 0.05;
export const SHOAL = 0.005;
/** Draws that stand for the prior where there are no items. */
const PRIOR_DRAWS = 4000;

export interface Ground {
  plane: MapPlane;
  /** Two numbers an item; null where there is no data. */
  points: Numbers | null;
  n: number;
  density: Density | null;
  /** Whose density it is, in words. */
  whose: string;
  inverse: Inverse;
  /** What is shown at first. */
  box: Bounds;
  /** Whether there is one latent only: then height means nothing. */
  flat: boolean;
}

const known = new WeakMap<Backend, Promise<Ground>>();

/** The ground of a run; asked again, the same. */
export function groundOf(backend: Backend): Promise<Ground> {
  const ground = known.get(backend) ?? survey(backend);
  known.set(backend, ground);
  ground.catch(() => known.delete(backend)); // the next visit tries again
  return ground;
}

async function survey(backend: Backend): Promise<Ground> {
  const { manifest } = backend;
  const plane = manifest.map!;
  const has = (name: string) => name in manifest.arrays;
  const points = has("points") ? await backend.array("points") : null;
  const codes = points && has("codes") ? await backend.array("codes") : null;
  const flat = plane.components.length === 1;
  const settled = points ?? (await priorPlaces(backend, plane));
  const density = settled && new Density(flat ? onAxis(settled) : settled, boundsOf(settled, 0.35));
  return {
    plane,
    points,
    n: points ? points.length / 2 : 0,
    density,
    whose: points ? "the items’ places" : "what the prior draws",
    inverse: new Inverse(plane, points, codes, density?.widths),
    box: boundsOf(settled ?? new Float32Array()),
    flat,
  };
}

/** How far a place can be trusted: the share of items in thinner places; null if nothing is known. */
export function trust({ density, flat }: Ground, x: number, y: number): number | null {
  return density && density.trust(x, flat ? 0 : y);
}

/** That, in words. */
export function trustWords(ground: Ground, x: number, y: number): string {
  const share = trust(ground, x, y);
  if (share === null) return "there is no data to say how far to trust this";
  const near = ground.points ? "items" : "draws";
  if (share < SHOAL) return `no ${near} near: do not trust this`;
  const words = `denser than ${Math.max(1, Math.round(100 * share))}% of ${ground.whose}`;
  return share < COAST ? `few ${near} near, trust with care: ${words}` : words;
}

async function priorPlaces(backend: Backend, plane: MapPlane): Promise<Numbers | null> {
  if (!backend.manifest.prior) return null;
  const d = plane.mean.length;
  const codes = await drawCodes(PRIOR_DRAWS, 1, 0, null);
  return Float32Array.from({ length: 2 * PRIOR_DRAWS }, (_, k) => {
    const i = k >> 1;
    return project(plane, codes.subarray(i * d, (i + 1) * d))[k & 1];
  });
}

function onAxis(points: Numbers): Float32Array {
  return Float32Array.from(points, (v, k) => (k & 1 ? 0 : v));
}
