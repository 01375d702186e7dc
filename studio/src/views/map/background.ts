/** The background of the map: density contours, hatching of sparse regions, axis labels. */

import type { Camera } from "./camera";
import { contours, type Loop } from "./contours";
import { SPARSE, EMPTY, type MapData } from "./mapData";
import { formatNumber } from "../../format";
import { ticks } from "../ticks";

/** Quantiles of the density at which additional contours are drawn. */
const HEIGHTS = [0.25, 0.5, 0.75];

export interface Theme {
  card: string;
  wash: string;
  line: string;
  accent: string;
  soft: string;
  ink: string;
}

/** The current colours of the page. */
export function themeOf(element: Element): Theme {
  const style = getComputedStyle(element);
  const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    card: colour("card"),
    wash: colour("wash"),
    line: colour("line"),
    accent: colour("accent"),
    soft: colour("soft"),
    ink: colour("ink"),
  };
}

export class Background {
  private empty: Path2D | null = null;
  private sparse: Path2D | null = null;
  private heights: Path2D[] = [];

  constructor(private mapData: MapData) {
    const { density } = mapData;
    if (!density) return;
    this.empty = this.line(EMPTY);
    this.sparse = this.line(SPARSE);
    this.heights = HEIGHTS.map((share) => this.line(share));
  }

  /** Draw the background; `between` draws a layer below the hatching. */
  draw(canvas: HTMLCanvasElement, camera: Camera, theme: Theme, between: ((context: Context) => void) | null): void {
    const context = canvas.getContext("2d")!;
    const pixelRatio = canvas.width / camera.width;
    context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
    context.fillStyle = this.sparse ? theme.wash : theme.card;
    context.fillRect(0, 0, camera.width, camera.height);
    const placed = (path: Path2D) => onScreen(path, camera);
    if (this.sparse && this.empty) {
      context.fillStyle = theme.card;
      context.fill(placed(this.sparse), "evenodd");
      if (!between) this.shadeHeights(context, theme, placed);
    }
    between?.(context);
    if (this.sparse && this.empty) {
      this.hatch(context, camera, theme, placed(this.sparse), 0.16);
      this.hatch(context, camera, theme, placed(this.empty), 0.14);
      context.strokeStyle = theme.accent;
      context.globalAlpha = 0.55;
      context.lineWidth = 1.25;
      context.stroke(placed(this.sparse));
      context.globalAlpha = 1;
    }
    this.scale(context, camera, theme);
  }

  private shadeHeights(context: Context, theme: Theme, placed: (path: Path2D) => Path2D): void {
    for (const path of this.heights.map(placed)) {
      context.globalAlpha = 0.07;
      context.fillStyle = theme.accent;
      context.fill(path, "evenodd");
      context.globalAlpha = 0.28;
      context.lineWidth = 0.75;
      context.strokeStyle = theme.accent;
      context.stroke(path);
    }
    context.globalAlpha = 1;
  }

  /** Hatch the area outside a path. */
  private hatch(context: Context, camera: Camera, theme: Theme, inside: Path2D, strength: number): void {
    const { width, height } = camera;
    context.save();
    const outside = new Path2D();
    outside.rect(0, 0, width, height);
    outside.addPath(inside);
    context.clip(outside, "evenodd");
    context.strokeStyle = theme.soft;
    context.globalAlpha = strength;
    context.lineWidth = 1;
    context.beginPath();
    for (let x = -height; x < width; x += 9) {
      context.moveTo(x, height);
      context.lineTo(x + height, 0);
    }
    context.stroke();
    context.restore();
  }

  /** Draw axis labels along two edges. */
  private scale(context: Context, camera: Camera, theme: Theme): void {
    const { left, right, bottom, top } = camera.box;
    context.font = "11px system-ui, sans-serif";
    context.lineJoin = "round";
    context.lineWidth = 3;
    context.strokeStyle = theme.card;
    context.fillStyle = theme.soft;
    const write = (text: string, x: number, y: number) => {
      context.strokeText(text, x, y); // an outline keeps the text legible on any background
      context.fillText(text, x, y);
    };
    context.textAlign = "center";
    context.textBaseline = "bottom";
    for (const x of ticks({ low: left, high: right }, camera.width / 90)) {
      const [px] = camera.toScreen(x, 0);
      if (px > 40 && px < camera.width - 20) write(formatNumber(x), px, camera.height - 4);
    }
    if (this.mapData.flat) return;
    context.textAlign = "left";
    context.textBaseline = "middle";
    for (const y of ticks({ low: bottom, high: top }, camera.height / 70)) {
      const [, py] = camera.toScreen(0, y);
      if (py > 12 && py < camera.height - 24) write(formatNumber(y), 5, py);
    }
  }

  /** The contour outside which this share of items lies. */
  private line(share: number): Path2D {
    const density = this.mapData.density!;
    const { size, bounds } = density;
    const [w, h] = [(bounds.right - bounds.left) / size, (bounds.top - bounds.bottom) / size];
    const value = (i: number, j: number) =>
      this.mapData.flat ? density.at(bounds.left + (i + 0.5) * w, 0) : density.cell(i, j);
    const path = new Path2D();
    for (const loop of contours(value, size, Math.max(density.level(share), 1e-9)))
      curve(path, loop, (i) => bounds.left + (i + 0.5) * w, (j) => bounds.bottom + (j + 0.5) * h);
    return path;
  }
}

type Context = CanvasRenderingContext2D;

/** Convert a path from map units to pixels. */
function onScreen(path: Path2D, camera: Camera): Path2D {
  const [e, f] = camera.toScreen(0, 0);
  const placed = new Path2D();
  placed.addPath(path, { a: camera.sx, b: 0, c: 0, d: -camera.sy, e, f });
  return placed;
}

/** Smooth a loop with quadratic curves through the midpoints of its sides. */
function curve(path: Path2D, loop: Loop, x: (i: number) => number, y: (j: number) => number): void {
  const n = loop.length / 2;
  const at = (k: number): [number, number] => [x(loop[2 * (k % n)]), y(loop[2 * (k % n) + 1])];
  const middle = (k: number): [number, number] => {
    const [a, b] = [at(k), at(k + 1)];
    return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
  };
  path.moveTo(...middle(0));
  for (let k = 1; k <= n; k++) path.quadraticCurveTo(...at(k), ...middle(k));
  path.closePath();
}
