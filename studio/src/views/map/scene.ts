/** The layers of the map, one above the other: land, points, marks. */

import { latest, type Backend, type Condition } from "../../backend";
import { Camera } from "./camera";
import type { Ground } from "./ground";
import { Land, themeOf, type Theme } from "./land";
import { pointLayer, type PointLayer } from "./points";
import type { Shades } from "./shades";
import { Tiles } from "./tiles";

export interface Layers {
  land: HTMLCanvasElement;
  points: HTMLCanvasElement;
  /** Marks are shapes, not a canvas: a pointer that moves them leaves the rest as it is. */
  marks: SVGSVGElement;
}

export type Place = readonly [number, number];

/** What is drawn above the points; places in units of the map. */
export interface Marks {
  /** Where one looks. */
  ring: Place | null;
  /** What is kept in hand. */
  kept: Place | null;
  cross: Place | null;
  lasso: readonly Place[];
}

/** The view must rest so long before it is decoded. */
const REST_MS = 120;
/** Points that take longer than this to appear are dragged as a picture until the view rests. */
const SLOW_MS = 90;

export class Scene {
  readonly camera: Camera;
  readonly note: string;
  private land: Land;
  private layer: PointLayer | null;
  private tiles: Tiles | null = null;
  private theme: Theme;
  private marks: Marks = { ring: null, kept: null, cross: null, lasso: [] };
  private condition: Condition = null;
  private frame = 0;
  private timer = 0;
  /** What the points last took, where the camera was then, and where they were asked for since. */
  private took = 0;
  private shown: Camera | null = null;
  private asked: Camera | null = null;
  private gone = false;
  private dark = matchMedia("(prefers-color-scheme: dark)");

  constructor(
    private layers: Layers,
    private ground: Ground,
    private backend: Backend,
    before: Camera | null,
    private trouble: (error: unknown) => void,
  ) {
    const { clientWidth, clientHeight } = layers.land;
    this.camera = before ?? new Camera(clientWidth, clientHeight);
    if (before) before.resize(clientWidth, clientHeight);
    else this.camera.fit(widened(ground));
    this.theme = themeOf(layers.marks);
    this.land = new Land(ground);
    const { points, box } = ground;
    this.layer = points && pointLayer(layers.points, points, box, this.camera, this.pointsDrawn);
    this.note = this.layer?.note ?? "";
    this.size();
    this.dark.addEventListener("change", this.recolour);
    this.moved();
  }

  resize(): void {
    const { clientWidth, clientHeight } = this.layers.land;
    const { camera } = this;
    if (!clientWidth || (clientWidth === camera.width && clientHeight === camera.height)) return;
    camera.resize(clientWidth, clientHeight);
    this.size();
    this.took = 0; // a picture of another size is not dragged
    this.layer?.resize(camera);
    this.moved();
  }

  paint(shades: Shades, faded: Uint8Array | null): void {
    this.layer?.paint(shades, faded);
  }

  mark(marks: Partial<Marks>): void {
    Object.assign(this.marks, marks);
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(this.drawMarks);
  }

  /** Show or hide what the decoder makes of the land. */
  decodeLand(on: boolean, condition: Condition): void {
    this.condition = condition;
    this.tiles = on ? (this.tiles ?? new Tiles(this.backend, this.ground, this.backend.manifest.item)) : null;
    this.layers.points.style.opacity = on ? "0.75" : "";
    this.moved();
  }

  whole(): void {
    this.camera.fit(widened(this.ground));
    this.moved();
  }

  /** The camera has moved: draw anew, and decode when it rests. */
  moved(): void {
    const slow = this.layer !== null && this.took > SLOW_MS;
    if (slow) this.drag();
    else this.drawPoints();
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      if (slow) this.drawPoints();
      if (this.tiles) void this.decode();
    }, REST_MS);
  }

  /** Draw points and land as the camera sees them, and take the time until they are there. */
  private drawPoints(): void {
    if (!this.layer) return this.drawLand();
    const began = performance.now();
    this.asked = copy(this.camera);
    this.layer.view(this.camera);
    const done = () => (this.took = performance.now() - began);
    requestAnimationFrame(() => requestAnimationFrame(done));
  }

  /** Without a fast card: move the points as they were last drawn, and draw the land anew. */
  private drag(): void {
    this.place();
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(this.drawLand);
  }

  /** The layer has drawn the points where the camera was when they were asked for. */
  private pointsDrawn = (): void => {
    this.shown = this.asked ?? copy(this.camera);
    this.place();
    this.drawLand();
  };

  /** Put the picture of the points where the camera sees it now. */
  private place(): void {
    const { shown, camera } = this;
    if (!shown) return;
    const [x, y] = camera.toScreen(...shown.toPlace(0, 0));
    const [w, h] = [camera.sx / shown.sx, camera.sy / shown.sy];
    const moved = Math.abs(x) + Math.abs(y) > 0.01 || w !== 1 || h !== 1;
    const transform = `translate(${x}px, ${y}px) scale(${w}, ${h})`;
    this.layers.points.style.transform = moved ? transform : "";
  }

  destroy(): void {
    this.gone = true;
    this.dark.removeEventListener("change", this.recolour);
    cancelAnimationFrame(this.frame);
    window.clearTimeout(this.timer);
    this.layer?.destroy();
  }

  private decode = latest(async () => {
    try {
      await this.tiles?.refresh(this.camera, this.condition, this.theme.accent);
    } catch (error) {
      this.trouble(error);
    }
    if (!this.gone) this.drawLand();
  });

  private drawLand = (): void => {
    const { tiles, camera } = this;
    this.land.draw(this.layers.land, camera, this.theme, tiles && ((pen) => tiles.draw(pen, camera)));
    this.drawMarks();
  };

  private drawMarks = (): void => {
    const { ring, kept, cross, lasso } = this.marks;
    const { camera } = this;
    this.shape("ring", ring && circle(...camera.toScreen(...ring), 7));
    this.shape("kept", kept && circle(...camera.toScreen(...kept), 8));
    const [x, y] = cross ? camera.toScreen(...cross) : [0, 0];
    this.shape("cross", cross && `M0 ${y}H${camera.width}M${x} 0V${camera.height}`);
    const line = lasso.map((place) => camera.toScreen(...place).join(" ")).join("L");
    this.shape("lasso", line && `M${line}Z`);
  };

  private shape(name: keyof Marks, path: string | null): void {
    for (const each of this.layers.marks.getElementsByClassName(name)) each.setAttribute("d", path ?? "");
  }

  private size(): void {
    const sharp = window.devicePixelRatio || 1;
    this.layers.land.width = Math.round(this.camera.width * sharp);
    this.layers.land.height = Math.round(this.camera.height * sharp);
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

/** The box of the items with some land about it. */
function widened({ box }: Ground): Ground["box"] {
  const [w, h] = [0.03 * (box.right - box.left), 0.03 * (box.top - box.bottom)];
  return { left: box.left - w, right: box.right + w, bottom: box.bottom - h, top: box.top + h };
}
