/** The visible part of the map. */

import type { Bounds } from "../../latent";

/** Minimum and maximum zoom relative to the whole map. */
const ZOOM = [0.3, 400] as const;
/** Both axes share one scale unless one side is this many times longer. */
const LONG = 5;

/** Converts between positions in map units and pixels from the top left corner. */
export class Camera {
  x = 0;
  y = 0;
  /** Pixels per unit. */
  sx = 1;
  sy = 1;
  private whole = 1;

  constructor(
    public width: number,
    public height: number,
  ) {}

  /** Centre a box and show it completely. */
  fit({ left, right, bottom, top }: Bounds): void {
    const [w, h] = [right - left, top - bottom];
    [this.sx, this.sy] = [this.width / w, this.height / h];
    if (w < LONG * h && h < LONG * w) this.sx = this.sy = Math.min(this.sx, this.sy);
    [this.x, this.y] = [(left + right) / 2, (bottom + top) / 2];
    this.whole = this.sx;
  }

  resize(width: number, height: number): void {
    const by = Math.min(width / this.width, height / this.height);
    [this.width, this.height] = [width, height];
    this.sx *= by;
    this.sy *= by;
    this.whole *= by;
  }

  /** The pixel of a position. */
  toScreen(x: number, y: number): [number, number] {
    return [(x - this.x) * this.sx + this.width / 2, (this.y - y) * this.sy + this.height / 2];
  }

  /** The position at a pixel. */
  toPlace(px: number, py: number): [number, number] {
    return [(px - this.width / 2) / this.sx + this.x, (this.height / 2 - py) / this.sy + this.y];
  }

  pan(dx: number, dy: number): void {
    this.x -= dx / this.sx;
    this.y += dy / this.sy;
  }

  /** Zoom in by a factor about a fixed pixel. */
  zoom(factor: number, px = this.width / 2, py = this.height / 2): void {
    const [x, y] = this.toPlace(px, py);
    const size = (this.sx * factor) / this.whole;
    const by = (Math.min(ZOOM[1], Math.max(ZOOM[0], size)) * this.whole) / this.sx;
    this.sx *= by;
    this.sy *= by;
    const [nx, ny] = this.toPlace(px, py);
    this.x += x - nx;
    this.y += y - ny;
  }

  /** Zoom relative to the whole map. */
  get zoomLevel(): number {
    return this.sx / this.whole;
  }

  get box(): Bounds {
    const [left, top] = this.toPlace(0, 0);
    const [right, bottom] = this.toPlace(this.width, this.height);
    return { left, right, bottom, top };
  }
}
