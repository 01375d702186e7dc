/** The decoded background: a grid of tiles decoded at their centres. */

import { latest, type Backend, type Condition } from "../../backend";
import { drawSignal, paint, imageBytes, imageSize } from "../../draw";
import type { Item } from "../../manifest";
import type { Camera } from "./camera";
import { SPARSE, trust, type MapData } from "./mapData";

/** Minimum width of a tile in pixels, and maximum time of a batch. */
const NARROW = 34;
const BATCH_MS = 180;
const MOST = 500;
/** Initial estimate of the time per decode. */
const GUESS_MS = 2;
/** Size of a signal's tile in pixels, and the relative margin of tiles. */
const WAVE = { width: 120, height: 60 };
const GAP = 0.07;

export interface Grid {
  /** Lower left corner in map units, and number of tiles. */
  left: number;
  bottom: number;
  columns: number;
  rows: number;
  /** Size of a tile in map units. */
  width: number;
  height: number;
}

/**
 * A grid of at most `most` tiles that covers the view. Tile sizes are discrete and aligned to the
 * origin, so that tiles do not move relative to the map. `shape` is the aspect ratio of a tile.
 */
export function gridOf(camera: Camera, shape: number, flat: boolean, most: number): Grid {
  const { left, right, bottom, top } = camera.box;
  for (let k = Math.ceil(2 * Math.log2((NARROW * Math.max(1, shape)) / camera.sx)); ; k++) {
    const width = 2 ** (k / 2);
    const height = (width * camera.sx) / camera.sy / shape;
    const first = Math.floor(left / width);
    const lowest = flat ? -0.5 : Math.floor(bottom / height);
    const columns = Math.ceil(right / width) - first;
    const rows = flat ? 1 : Math.ceil(top / height) - lowest;
    if (columns * rows <= Math.max(4, most))
      return { left: first * width, bottom: lowest * height, columns, rows, width, height };
  }
}

export class Tiles {
  private sheet: HTMLCanvasElement | null = null;
  private grid: Grid | null = null;
  private cost = GUESS_MS;
  private shape: { width: number; height: number };

  constructor(
    private backend: Backend,
    private mapData: MapData,
    private item: Item,
  ) {
    this.shape = item.kind === "image" ? imageSize(item) : WAVE;
  }

  /** Decode the current view. */
  refresh = latest(async (camera: Camera, condition: Condition, ink: string): Promise<void> => {
    const planned = this.plan(camera);
    await this.decode(planned, condition, ink);
    const better = this.plan(camera); // with the measured decoding time
    if (better.columns > 1.3 * planned.columns) await this.decode(better, condition, ink);
  });

  private plan(camera: Camera): Grid {
    const { width, height } = this.shape;
    return gridOf(camera, width / height, this.mapData.flat, Math.min(MOST, BATCH_MS / this.cost));
  }

  private async decode(grid: Grid, condition: Condition, ink: string): Promise<void> {
    const places = middles(grid);
    const began = performance.now();
    const codes = places.flatMap(([x, y]) => [...this.mapData.inverse.at(x, y)]);
    const x = await this.backend.decode(Float32Array.from(codes), places.length, condition);
    this.cost = Math.max(0.05, (performance.now() - began) / places.length);
    this.sheet = this.print(grid, places, x, ink);
    this.grid = grid;
  }

  draw(context: CanvasRenderingContext2D, camera: Camera): void {
    if (!this.grid || !this.sheet) return;
    const { left, bottom, columns, rows, width, height } = this.grid;
    const [x, y] = camera.toScreen(left, bottom + rows * height);
    context.save();
    context.imageSmoothingEnabled = this.item.kind !== "image";
    context.drawImage(this.sheet, x, y, columns * width * camera.sx, rows * height * camera.sy);
    context.restore();
  }

  /** Draw all tiles on one canvas, faint in sparse regions. */
  private print(grid: Grid, places: [number, number][], x: Float64Array, ink: string): HTMLCanvasElement {
    const { width, height } = this.shape;
    const gap = Math.ceil(GAP * height);
    const [w, h] = [width + 2 * gap, height + 2 * gap];
    const sheet = document.createElement("canvas");
    sheet.width = grid.columns * w;
    sheet.height = grid.rows * h;
    const context = sheet.getContext("2d")!;
    const each = x.length / places.length;
    const one = document.createElement("canvas");
    places.forEach(([px, py], i) => {
      const values = x.subarray(i * each, (i + 1) * each);
      this.printOne(one, values, ink);
      context.globalAlpha = 0.2 + 0.8 * Math.min(1, (trust(this.mapData, px, py) ?? 1) / SPARSE);
      const row = grid.rows - 1 - Math.floor(i / grid.columns); // canvas rows run downwards
      context.drawImage(one, (i % grid.columns) * w + gap, row * h + gap, width, height);
    });
    return sheet;
  }

  private printOne(canvas: HTMLCanvasElement, x: Float64Array, ink: string): void {
    if (this.item.kind !== "image") return drawSignal(canvas, this.item, x, ink, 1);
    const { width, height } = this.shape;
    paint(canvas, imageBytes(this.item, x), width, height);
  }
}

function middles({ left, bottom, columns, rows, width, height }: Grid): [number, number][] {
  return Array.from({ length: columns * rows }, (_, i) => [
    left + ((i % columns) + 0.5) * width,
    bottom + (Math.floor(i / columns) + 0.5) * height,
  ]);
}
