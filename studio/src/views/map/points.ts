/** The layer of points, drawn with WebGL or, as a fallback, on a 2D canvas. */

import createScatterplot, { createRegl, createRenderer, createSpatialIndex } from "regl-scatterplot";
import { latest, type Numbers } from "../../backend";
import type { Bounds } from "../../latent";
import type { Camera } from "./camera";
import type { PointColours } from "./pointColours";

/** Maximum number of points drawn on a 2D canvas. */
const CANVAS_LIMIT = 50_000;
/** Number of points from which squares replace discs, which are slower to draw. */
const MANY = 100_000;
/** Relative opacity of a faded point. */
const FADED = 0.12;

export interface PointLayer {
  /** A note about limitations of the drawing. */
  readonly note: string;
  paint(colours: PointColours, faded: Uint8Array | null): void;
  /** Redraw for a camera. */
  view(camera: Camera): void;
  resize(camera: Camera): void;
  destroy(): void;
}

/** Size in pixels and opacity of points, smaller for many points. */
function styleFor(n: number): { size: number; opacity: number } {
  if (n <= 3000) return { size: 6, opacity: 0.9 };
  if (n <= 20_000) return { size: 4, opacity: 0.8 };
  return n <= MANY ? { size: 3, opacity: 0.6 } : { size: 2, opacity: 0.35 };
}

/** Create the layer; `drawn` is called after each frame. */
export function pointLayer(
  canvas: HTMLCanvasElement,
  points: Numbers,
  box: Bounds,
  camera: Camera,
  drawn: () => void,
): PointLayer {
  return WebGLPoints.make(canvas, points, box, camera, drawn) ?? new CanvasPoints(canvas, points, camera, drawn);
}

type Plot = ReturnType<typeof createScatterplot>;
type Renderer = ReturnType<typeof createRenderer>;

/** Points drawn by regl-scatterplot, without its own camera, pointer handling and lasso. */
class WebGLPoints implements PointLayer {
  readonly note = "";
  private rows: number[][];
  private plot: Plot;
  private ready = false;
  private palette: string[] = [];
  private destroyed = false;
  private size: number;
  private middle: [number, number];
  /** A dummy index: building the real one, which is not used, is slow for a million points. */
  private index = createSpatialIndex([[0, 0]], false);

  static make(
    canvas: HTMLCanvasElement,
    points: Numbers,
    box: Bounds,
    camera: Camera,
    drawn: () => void,
  ): WebGLPoints | null {
    const offscreen = document.createElement("canvas");
    if (!offscreen.getContext("webgl", { antialias: true, preserveDrawingBuffer: true })) return null;
    const renderer = createRenderer({ regl: createRegl(offscreen), canvas: offscreen });
    if (renderer.isSupported) return new WebGLPoints(canvas, renderer, points, box, camera, drawn);
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
    const { size, opacity } = styleFor(points.length / 2);
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

  paint(colours: PointColours, faded: Uint8Array | null): void {
    void this.draw(colours, faded);
  }

  view(camera: Camera): void {
    const [across, up] = [(2 * camera.sx) / camera.height, (2 * camera.sy) / camera.height];
    const [x, y] = [across * (this.middle[0] - camera.x), up * (this.middle[1] - camera.y)];
    const [a, b] = [across * this.size, up * this.size];
    const columns = Float32Array.of(a, 0, 0, 0, 0, b, 0, 0, 0, 0, 1, 0, x, y, 0, 1);
    this.plot.view(columns as unknown as number[]); // declared as number[], used as a matrix
    if (!this.ready) this.drawn();
  }

  resize(camera: Camera): void {
    this.renderer.resize(camera.width, camera.height);
    void this.plot.set({ width: camera.width, height: camera.height });
    this.view(camera);
  }

  destroy(): void {
    this.destroyed = true;
    this.plot.destroy();
    this.renderer.destroy();
  }

  private draw = latest(async (colours: PointColours, faded: Uint8Array | null) => {
    const spatialIndex = await this.index;
    if (this.destroyed) return;
    this.rows.forEach((row, i) => {
      row[2] = colours.of[i];
      row[3] = faded ? faded[i] : 0;
    });
    if (colours.palette !== this.palette) void this.plot.set({ pointColor: colours.palette });
    this.palette = colours.palette;
    const drawing = this.plot.draw(this.rows, {
      zDataType: "categorical",
      wDataType: "categorical",
      spatialIndex,
    });
    this.ready = true;
    await drawing;
  });
}

/** Points drawn on a 2D canvas. */
class CanvasPoints implements PointLayer {
  readonly note: string;
  private step: number;
  private colours: PointColours | null = null;
  private faded: Uint8Array | null = null;
  private last: Camera;

  constructor(
    private canvas: HTMLCanvasElement,
    private points: Numbers,
    camera: Camera,
    private drawn: () => void,
  ) {
    const n = points.length / 2;
    this.step = Math.ceil(n / CANVAS_LIMIT);
    const some = this.step > 1 ? `: only every ${this.step}th point is shown` : ", which may be slower";
    this.note = `WebGL is not available, so the map is drawn on a 2D canvas${some}.`;
    this.last = camera;
    this.resize(camera);
  }

  paint(colours: PointColours, faded: Uint8Array | null): void {
    [this.colours, this.faded] = [colours, faded];
    this.view(this.last);
  }

  view(camera: Camera): void {
    this.last = camera;
    const context = this.canvas.getContext("2d")!;
    const pixelRatio = this.canvas.width / camera.width;
    context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
    context.clearRect(0, 0, camera.width, camera.height);
    this.drawn();
    if (!this.colours) return;
    const { of, palette } = this.colours;
    const { size, opacity } = styleFor(this.points.length / 2 / this.step);
    for (let i = 0, k = 0; i < of.length; i += this.step, k = 2 * i) {
      const [x, y] = camera.toScreen(this.points[k], this.points[k + 1]);
      if (x < -size || y < -size || x > camera.width + size || y > camera.height + size) continue;
      context.globalAlpha = this.faded?.[i] ? opacity * FADED : opacity;
      context.fillStyle = palette[of[i]];
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
    context.globalAlpha = 1;
  }

  resize(camera: Camera): void {
    const pixelRatio = window.devicePixelRatio || 1;
    this.canvas.width = camera.width * pixelRatio;
    this.canvas.height = camera.height * pixelRatio;
    this.view(camera);
  }

  destroy(): void {}
}
