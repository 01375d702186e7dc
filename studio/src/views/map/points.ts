/** The layer of points: on the graphics card, or with a pen where there is none. */

import createScatterplot, { createRegl, createRenderer, createSpatialIndex } from "regl-scatterplot";
import { latest, type Numbers } from "../../backend";
import type { Bounds } from "../../latent";
import type { Camera } from "./camera";
import type { Shades } from "./shades";

/** Points that a pen draws fast enough to follow the pointer. */
const BY_PEN = 50_000;
/** From here on points are squares: round ones cost more, and nobody sees the corners. */
const MANY = 100_000;
/** How much is left of a faded point. */
const FADED = 0.12;

export interface PointLayer {
  /** What the reader should know of how points are drawn. */
  readonly note: string;
  paint(shades: Shades, faded: Uint8Array | null): void;
  /** Follow the camera; `drawn` is called with each frame. */
  view(camera: Camera): void;
  resize(camera: Camera): void;
  destroy(): void;
}

/** Point sizes in pixels and opacities: the more points, the finer. */
function look(n: number): { size: number; opacity: number } {
  if (n <= 3000) return { size: 6, opacity: 0.9 };
  if (n <= 20_000) return { size: 4, opacity: 0.8 };
  return n <= MANY ? { size: 3, opacity: 0.6 } : { size: 2, opacity: 0.35 };
}

/** Make the layer; `drawn` is called whenever it has drawn a frame of its own accord. */
export function pointLayer(
  canvas: HTMLCanvasElement,
  points: Numbers,
  box: Bounds,
  camera: Camera,
  drawn: () => void,
): PointLayer {
  return CardPoints.make(canvas, points, box, camera, drawn) ?? new PenPoints(canvas, points, camera, drawn);
}

type Plot = ReturnType<typeof createScatterplot>;
type Renderer = ReturnType<typeof createRenderer>;

/** Points by regl-scatterplot, which here only draws: camera, pointer and lasso are the map's. */
class CardPoints implements PointLayer {
  readonly note = "";
  private rows: number[][];
  private plot: Plot;
  private ready = false;
  private palette: string[] = [];
  private gone = false;
  private size: number;
  private middle: [number, number];
  /** Without an index for its own pointer, which is never asked, a million points start fast. */
  private index = createSpatialIndex([[0, 0]], false);

  static make(
    canvas: HTMLCanvasElement,
    points: Numbers,
    box: Bounds,
    camera: Camera,
    drawn: () => void,
  ): CardPoints | null {
    const own = document.createElement("canvas");
    if (!own.getContext("webgl", { antialias: true, preserveDrawingBuffer: true })) return null;
    const renderer = createRenderer({ regl: createRegl(own), canvas: own });
    if (renderer.isSupported) return new CardPoints(canvas, renderer, points, box, camera, drawn);
    renderer.destroy();
    return null;
  }

  private constructor(
    canvas: HTMLCanvasElement,
    private renderer: Renderer,
    points: Numbers,
    box: Bounds,
    camera: Camera,
    private drawn: () => void,
  ) {
    const { size, opacity } = look(points.length / 2);
    this.size = Math.max(box.right - box.left, box.top - box.bottom) / 2;
    this.middle = [(box.left + box.right) / 2, (box.bottom + box.top) / 2];
    this.rows = Array.from({ length: points.length / 2 }, (_, i) => [
      (points[2 * i] - this.middle[0]) / this.size,
      (points[2 * i + 1] - this.middle[1]) / this.size,
      0,
      0,
    ]);
    renderer.resize(camera.width, camera.height);
    this.plot = createScatterplot({
      canvas,
      renderer,
      width: camera.width,
      height: camera.height,
      cameraIsFixed: true,
      deselectOnEscape: false,
      colorBy: "valueA",
      opacityBy: "valueB",
      opacity: [opacity, opacity * FADED],
      pointSize: size,
      renderPointsAsSquares: points.length / 2 > MANY,
    } as Parameters<typeof createScatterplot>[0]);
    this.plot.subscribe("drawing", () => this.drawn());
  }

  paint(shades: Shades, faded: Uint8Array | null): void {
    void this.draw(shades, faded);
  }

  view(camera: Camera): void {
    const [across, up] = [(2 * camera.sx) / camera.height, (2 * camera.sy) / camera.height];
    const [x, y] = [across * (this.middle[0] - camera.x), up * (this.middle[1] - camera.y)];
    const [a, b] = [across * this.size, up * this.size];
    const columns = Float32Array.of(a, 0, 0, 0, 0, b, 0, 0, 0, 0, 1, 0, x, y, 0, 1);
    this.plot.view(columns as unknown as number[]); // declared as plain numbers, kept as a matrix
    if (!this.ready) this.drawn();
  }

  resize(camera: Camera): void {
    this.renderer.resize(camera.width, camera.height);
    void this.plot.set({ width: camera.width, height: camera.height });
    this.view(camera);
  }

  destroy(): void {
    this.gone = true;
    this.plot.destroy();
    this.renderer.destroy();
  }

  private draw = latest(async (shades: Shades, faded: Uint8Array | null) => {
    const spatialIndex = await this.index;
    if (this.gone) return;
    this.rows.forEach((row, i) => {
      row[2] = shades.of[i];
      row[3] = faded ? faded[i] : 0;
    });
    if (shades.palette !== this.palette) void this.plot.set({ pointColor: shades.palette });
    this.palette = shades.palette;
    const done = this.plot.draw(this.rows, {
      zDataType: "categorical",
      wDataType: "categorical",
      spatialIndex,
    });
    this.ready = true;
    await done;
  });
}

/** Points by a 2-D canvas. */
class PenPoints implements PointLayer {
  readonly note: string;
  private step: number;
  private shades: Shades | null = null;
  private faded: Uint8Array | null = null;
  private last: Camera;

  constructor(
    private canvas: HTMLCanvasElement,
    private points: Numbers,
    camera: Camera,
    private drawn: () => void,
  ) {
    const n = points.length / 2;
    this.step = Math.ceil(n / BY_PEN);
    const some = this.step > 1 ? `: every ${this.step}th point is shown` : " and may be slower";
    this.note = `This browser has no WebGL, so the map is drawn with a plain pen${some}.`;
    this.last = camera;
    this.resize(camera);
  }

  paint(shades: Shades, faded: Uint8Array | null): void {
    [this.shades, this.faded] = [shades, faded];
    this.view(this.last);
  }

  view(camera: Camera): void {
    this.last = camera;
    const pen = this.canvas.getContext("2d")!;
    const sharp = this.canvas.width / camera.width;
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.clearRect(0, 0, camera.width, camera.height);
    this.drawn();
    if (!this.shades) return;
    const { of, palette } = this.shades;
    const { size, opacity } = look(this.points.length / 2 / this.step);
    for (let i = 0, k = 0; i < of.length; i += this.step, k = 2 * i) {
      const [x, y] = camera.toScreen(this.points[k], this.points[k + 1]);
      if (x < -size || y < -size || x > camera.width + size || y > camera.height + size) continue;
      pen.globalAlpha = this.faded?.[i] ? opacity * FADED : opacity;
      pen.fillStyle = palette[of[i]];
      pen.fillRect(x - size / 2, y - size / 2, size, size);
    }
    pen.globalAlpha = 1;
  }

  resize(camera: Camera): void {
    const sharp = window.devicePixelRatio || 1;
    this.canvas.width = camera.width * sharp;
    this.canvas.height = camera.height * sharp;
    this.view(camera);
  }

  destroy(): void {}
}
