/** The layers of the map: background, points and marks. */

import { latest, type Backend, type Condition } from "../../backend";
import { Camera } from "./camera";
import type { MapData } from "./mapData";
import { Background, themeOf, type Theme } from "./background";
import { pointLayer, type PointLayer } from "./points";
import type { PointColours } from "./pointColours";
import { Tiles } from "./tiles";

export interface Layers {
  background: HTMLCanvasElement;
  points: HTMLCanvasElement;
  /** Marks are SVG shapes, so that moving them does not redraw the other layers. */
  marks: SVGSVGElement;
}

export type Point2D = readonly [number, number];

/** Marks above the points, in map units. */
export interface Marks {
  /** The hovered position. */
  ring: Point2D | null;
  /** The pinned position. */
  pinned: Point2D | null;
  cross: Point2D | null;
  lasso: readonly Point2D[];
}

/** The background is decoded after the view has been still for this time. */
const REST_MS = 120;
/** Points that take longer than this to draw are moved as an image during a gesture. */
const SLOW_MS = 90;

export class Scene {
  readonly camera: Camera;
  readonly note: string;
  private background: Background;
  private layer: PointLayer | null;
  private tiles: Tiles | null = null;
  private theme: Theme;
  private marks: Marks = { ring: null, pinned: null, cross: null, lasso: [] };
  private condition: Condition = null;
  private frame = 0;
  private timer = 0;
  /** Last drawing time of the points, the camera they show, and the camera last requested. */
  private drawTime = 0;
  private shown: Camera | null = null;
  private requested: Camera | null = null;
  private destroyed = false;
  private dark = matchMedia("(prefers-color-scheme: dark)");

  constructor(
    private layers: Layers,
    private mapData: MapData,
    private backend: Backend,
    savedCamera: Camera | null,
    private errorMessage: (error: unknown) => void,
  ) {
    const { clientWidth, clientHeight } = layers.background;
    this.camera = savedCamera ?? new Camera(clientWidth, clientHeight);
    if (savedCamera) savedCamera.resize(clientWidth, clientHeight);
    else this.camera.fit(widened(mapData));
    this.theme = themeOf(layers.marks);
    this.background = new Background(mapData);
    const { points, box } = mapData;
    this.layer = points && pointLayer(layers.points, points, box, this.camera, this.pointsDrawn);
    this.note = this.layer?.note ?? "";
    this.size();
    this.dark.addEventListener("change", this.recolour);
    this.moved();
  }

  resize(): void {
    const { clientWidth, clientHeight } = this.layers.background;
    const { camera } = this;
    if (!clientWidth || (clientWidth === camera.width && clientHeight === camera.height)) return;
    camera.resize(clientWidth, clientHeight);
    this.size();
    this.drawTime = 0; // an image of another size cannot be moved
    this.layer?.resize(camera);
    this.moved();
  }

  paint(colours: PointColours, faded: Uint8Array | null): void {
    this.layer?.paint(colours, faded);
  }

  mark(marks: Partial<Marks>): void {
    Object.assign(this.marks, marks);
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(this.drawMarks);
  }

  /** Show or hide the decoded background. */
  setDecoded(on: boolean, condition: Condition): void {
    this.condition = condition;
    this.tiles = on ? (this.tiles ?? new Tiles(this.backend, this.mapData, this.backend.manifest.item)) : null;
    this.layers.points.style.opacity = on ? "0.75" : "";
    this.moved();
  }

  whole(): void {
    this.camera.fit(widened(this.mapData));
    this.moved();
  }

  /** Redraw after a camera change, and decode the background when it is still. */
  moved(): void {
    const slow = this.layer !== null && this.drawTime > SLOW_MS;
    if (slow) this.moveImage();
    else this.drawPoints();
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (slow) this.drawPoints();
      if (this.tiles) void this.decode();
    }, REST_MS);
  }

  /** Draw points and background, and measure the time. */
  private drawPoints(): void {
    if (!this.layer) return this.drawBackground();
    const started = performance.now();
    this.requested = copy(this.camera);
    this.layer.view(this.camera);
    const done = () => (this.drawTime = performance.now() - started);
    requestAnimationFrame(() => requestAnimationFrame(done));
  }

  /** Move the image of the points and redraw only the background. */
  private moveImage(): void {
    this.transformPoints();
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(this.drawBackground);
  }

  /** Called when the points have been drawn for the requested camera. */
  private pointsDrawn = (): void => {
    this.shown = this.requested ?? copy(this.camera);
    this.transformPoints();
    this.drawBackground();
  };

  /** Transform the image of the points to the current camera. */
  private transformPoints(): void {
    const { shown, camera } = this;
    if (!shown) return;
    const [x, y] = camera.toScreen(...shown.toPlace(0, 0));
    const [w, h] = [camera.sx / shown.sx, camera.sy / shown.sy];
    const moved = Math.abs(x) + Math.abs(y) > 0.01 || w !== 1 || h !== 1;
    const transform = `translate(${x}px, ${y}px) scale(${w}, ${h})`;
    this.layers.points.style.transform = moved ? transform : "";
  }

  destroy(): void {
    this.destroyed = true;
    this.dark.removeEventListener("change", this.recolour);
    cancelAnimationFrame(this.frame);
    window.clearTimeout(this.timer);
    this.layer?.destroy();
  }

  private decode = latest(async () => {
    try {
      await this.tiles?.refresh(this.camera, this.condition, this.theme.accent);
    } catch (error) {
      this.errorMessage(error);
    }
    if (!this.destroyed) this.drawBackground();
  });

  private drawBackground = (): void => {
    const { tiles, camera } = this;
    this.background.draw(this.layers.background, camera, this.theme, tiles && ((context) => tiles.draw(context, camera)));
    this.drawMarks();
  };

  private drawMarks = (): void => {
    const { ring, pinned, cross, lasso } = this.marks;
    const { camera } = this;
    this.shape("ring", ring && circle(...camera.toScreen(...ring), 7));
    this.shape("pinned", pinned && circle(...camera.toScreen(...pinned), 8));
    const [x, y] = cross ? camera.toScreen(...cross) : [0, 0];
    this.shape("cross", cross && `M0 ${y}H${camera.width}M${x} 0V${camera.height}`);
    const line = lasso.map((transformPoints) => camera.toScreen(...transformPoints).join(" ")).join("L");
    this.shape("lasso", line && `M${line}Z`);
  };

  private shape(name: keyof Marks, path: string | null): void {
    for (const each of this.layers.marks.getElementsByClassName(name)) each.setAttribute("d", path ?? "");
  }

  private size(): void {
    const pixelRatio = window.devicePixelRatio || 1;
    this.layers.background.width = Math.round(this.camera.width * pixelRatio);
    this.layers.background.height = Math.round(this.camera.height * pixelRatio);
  }

  private recolour = (): void => {
    this.theme = themeOf(this.layers.marks);
    this.moved();
  };
}

function circle(x: number, y: number, r: number): string {
  return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
}

function copy(camera: Camera): Camera {
  return Object.assign(new Camera(1, 1), camera);
}

/** The box of the items with a margin. */
function widened({ box }: MapData): MapData["box"] {
  const [w, h] = [0.03 * (box.right - box.left), 0.03 * (box.top - box.bottom)];
  return { left: box.left - w, right: box.right + w, bottom: box.bottom - h, top: box.top + h };
}
