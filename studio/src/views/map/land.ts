/** The land under the points: how densely items lie, drawn so that empty land looks untrusted. */

import type { Camera } from "./camera";
import { contours, type Loop } from "./contours";
import { COAST, SHOAL, type Ground } from "./ground";
import { number } from "../../words";
import { ticks } from "../ticks";

/** Shares of the items outside the lines that only show where it is dense. */
const HEIGHTS = [0.25, 0.5, 0.75];

export interface Theme {
  card: string;
  wash: string;
  line: string;
  accent: string;
  soft: string;
  ink: string;
}

/** The colours of the page, for a pen. */
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

export class Land {
  private shoal: Path2D | null = null;
  private coast: Path2D | null = null;
  private heights: Path2D[] = [];

  constructor(private ground: Ground) {
    const { density } = ground;
    if (!density) return;
    this.shoal = this.line(SHOAL);
    this.coast = this.line(COAST);
    this.heights = HEIGHTS.map((share) => this.line(share));
  }

  /** Draw the whole land; `between` is drawn on it, under what marks untrusted land. */
  draw(canvas: HTMLCanvasElement, camera: Camera, theme: Theme, between: ((pen: Pen) => void) | null): void {
    const pen = canvas.getContext("2d")!;
    const sharp = canvas.width / camera.width;
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    pen.fillStyle = this.coast ? theme.wash : theme.card;
    pen.fillRect(0, 0, camera.width, camera.height);
    const placed = (path: Path2D) => onScreen(path, camera);
    if (this.coast && this.shoal) {
      pen.fillStyle = theme.card;
      pen.fill(placed(this.coast), "evenodd");
      if (!between) this.shadeHeights(pen, theme, placed);
    }
    between?.(pen);
    if (this.coast && this.shoal) {
      this.hatch(pen, camera, theme, placed(this.coast), 0.16);
      this.hatch(pen, camera, theme, placed(this.shoal), 0.14);
      pen.strokeStyle = theme.accent;
      pen.globalAlpha = 0.55;
      pen.lineWidth = 1.25;
      pen.stroke(placed(this.coast));
      pen.globalAlpha = 1;
    }
    this.scale(pen, camera, theme);
  }

  private shadeHeights(pen: Pen, theme: Theme, placed: (path: Path2D) => Path2D): void {
    for (const path of this.heights.map(placed)) {
      pen.globalAlpha = 0.07;
      pen.fillStyle = theme.accent;
      pen.fill(path, "evenodd");
      pen.globalAlpha = 0.28;
      pen.lineWidth = 0.75;
      pen.strokeStyle = theme.accent;
      pen.stroke(path);
    }
    pen.globalAlpha = 1;
  }

  /** Hatch all that lies outside. */
  private hatch(pen: Pen, camera: Camera, theme: Theme, inside: Path2D, strength: number): void {
    const { width, height } = camera;
    pen.save();
    const outside = new Path2D();
    outside.rect(0, 0, width, height);
    outside.addPath(inside);
    pen.clip(outside, "evenodd");
    pen.strokeStyle = theme.soft;
    pen.globalAlpha = strength;
    pen.lineWidth = 1;
    pen.beginPath();
    for (let x = -height; x < width; x += 9) {
      pen.moveTo(x, height);
      pen.lineTo(x + height, 0);
    }
    pen.stroke();
    pen.restore();
  }

  /** Numbers along two edges. */
  private scale(pen: Pen, camera: Camera, theme: Theme): void {
    const { left, right, bottom, top } = camera.box;
    pen.font = "11px system-ui, sans-serif";
    pen.lineJoin = "round";
    pen.lineWidth = 3;
    pen.strokeStyle = theme.card;
    pen.fillStyle = theme.soft;
    const write = (text: string, x: number, y: number) => {
      pen.strokeText(text, x, y); // a rim, to be read on anything
      pen.fillText(text, x, y);
    };
    pen.textAlign = "center";
    pen.textBaseline = "bottom";
    for (const x of ticks({ low: left, high: right }, camera.width / 90)) {
      const [px] = camera.toScreen(x, 0);
      if (px > 40 && px < camera.width - 20) write(number(x), px, camera.height - 4);
    }
    if (this.ground.flat) return;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    for (const y of ticks({ low: bottom, high: top }, camera.height / 70)) {
      const [, py] = camera.toScreen(0, y);
      if (py > 12 && py < camera.height - 24) write(number(y), 5, py);
    }
  }

  /** The line outside which this share of the items lies. */
  private line(share: number): Path2D {
    const density = this.ground.density!;
    const { size, bounds } = density;
    const [w, h] = [(bounds.right - bounds.left) / size, (bounds.top - bounds.bottom) / size];
    const value = (i: number, j: number) =>
      this.ground.flat ? density.at(bounds.left + (i + 0.5) * w, 0) : density.cell(i, j);
    const path = new Path2D();
    for (const loop of contours(value, size, Math.max(density.level(share), 1e-9)))
      curve(path, loop, (i) => bounds.left + (i + 0.5) * w, (j) => bounds.bottom + (j + 0.5) * h);
    return path;
  }
}

type Pen = CanvasRenderingContext2D;

/** A path in units of the map, in pixels. */
function onScreen(path: Path2D, camera: Camera): Path2D {
  const [e, f] = camera.toScreen(0, 0);
  const placed = new Path2D();
  placed.addPath(path, { a: camera.sx, b: 0, c: 0, d: -camera.sy, e, f });
  return placed;
}

/** A closed line through the middles of a loop's sides, bent towards its corners. */
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
