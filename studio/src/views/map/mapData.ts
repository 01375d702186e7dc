/** The data of the map, computed once per run. */

import type { Backend, Numbers } from "../../backend";
import { boundsOf, Density, Inverse, project, type Bounds } from "../../latent";
import type { MapPlane } from "../../manifest";
import { drawCodes } from "../../components/prior";

/** Regions outside these quantiles of the items' density count as sparse and as empty. */
export const SPARSE = 0.05;
export const EMPTY = 0.005;
/** Number of prior samples that replace the items if there is no data. */
const PRIOR_DRAWS = 4000;

export interface MapData {
  plane: MapPlane;
  /** Two coordinates per item; null without data. */
  points: Numbers | null;
  n: number;
  density: Density | null;
  /** What the density describes. */
  densityOf: string;
  inverse: Inverse;
  /** The initially visible box. */
  box: Bounds;
  /** Whether there is only one latent, so that the vertical position has no meaning. */
  flat: boolean;
}

const known = new WeakMap<Backend, Promise<MapData>>();

/** Load the map data of a run, once. */
export function loadMapData(backend: Backend): Promise<MapData> {
  const mapData = known.get(backend) ?? load(backend);
  known.set(backend, mapData);
  mapData.catch(() => known.delete(backend)); // retry on the next visit
  return mapData;
}

async function load(backend: Backend): Promise<MapData> {
  const { manifest } = backend;
  const plane = manifest.map!;
  const has = (name: string) => name in manifest.arrays;
  const points = has("points") ? await backend.array("points") : null;
  const codes = points && has("codes") ? await backend.array("codes") : null;
  const flat = plane.components.length === 1;
  const densityPoints = points ?? (await samplePoints(backend, plane));
  const density = densityPoints && new Density(flat ? onAxis(densityPoints) : densityPoints, boundsOf(densityPoints, 0.35));
  return {
    plane,
    points,
    n: points ? points.length / 2 : 0,
    density,
    densityOf: points ? "the items" : "the samples of the prior",
    inverse: new Inverse(plane, points, codes, density?.widths),
    box: boundsOf(densityPoints ?? new Float32Array()),
    flat,
  };
}

/** The share of items at less dense positions; null without a density. */
export function trust({ density, flat }: MapData, x: number, y: number): number | null {
  return density && density.trust(x, flat ? 0 : y);
}

/** Describe the reliability of a decoded position. */
export function describeTrust(mapData: MapData, x: number, y: number): string {
  const share = trust(mapData, x, y);
  if (share === null) return "reliability unknown: no data";
  const kind = mapData.points ? "items" : "samples";
  if (share < EMPTY) return `no ${kind} nearby: unreliable`;
  const words = `denser than at ${Math.max(1, Math.round(100 * share))}% of ${mapData.densityOf}`;
  return share < SPARSE ? `few ${kind} nearby, less reliable: ${words}` : words;
}

async function samplePoints(backend: Backend, plane: MapPlane): Promise<Numbers | null> {
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
