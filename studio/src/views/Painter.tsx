/** An item under a round brush: what is hidden is hatched. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Grid, Mask, Place } from "../brush";
import { drawSignal, paint, pictureBytes } from "../draw";
import { cssColour, useDark, useWidth } from "../scheme";
import { manifest } from "../state";

interface Props {
  x: ArrayLike<number> | null;
  mask: Mask;
  grid: Grid;
  radius: number;
  /** A stroke begins: what came before can be undone. */
  onStart: () => void;
  onStroke: (from: Place, to: Place, erase: boolean) => void;
  onUndo: () => void;
}

const STEPS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
const ERASER = 32; // the other end of a pen, among a pointer's buttons

export function Painter({ x, mask, grid, radius, onStart, onStroke, onUndo }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef<Place | null>(null); // null while no button is down
  const [cursor, setCursor] = useState<Place | null>(null);
  const [dark, wide] = [useDark(), useWidth(canvas)];
  const picture = manifest.value.item.kind === "picture";

  useLayoutEffect(() => {
    if (x && canvas.current) draw(canvas.current, x, mask, grid, cursor && { ...cursor, radius });
  }, [x, mask, cursor, radius, dark, wide]);

  const down = (event: PointerEvent) => {
    if (event.button !== 0 && !(event.buttons & ERASER)) return;
    canvas.current!.setPointerCapture(event.pointerId);
    last.current = placeOf(event, grid);
    onStart();
    onStroke(last.current, last.current, Boolean(event.buttons & ERASER));
  };
  const move = (event: PointerEvent) => {
    const place = placeOf(event, grid);
    setCursor(place);
    if (!last.current) return;
    onStroke(last.current, place, Boolean(event.buttons & ERASER));
    last.current = place;
  };
  const key = (event: KeyboardEvent) => {
    const here = cursor ?? middle(grid);
    const step = STEPS[event.key];
    if (step) setCursor(within(grid, here, step));
    else if (event.key === " " || event.key === "Enter") {
      onStart();
      onStroke(here, here, false);
    } else if (event.key === "z" && (event.ctrlKey || event.metaKey)) onUndo();
    else return;
    event.preventDefault(); // the page stays where it is
  };

  return (
    <canvas
      ref={canvas}
      class={picture ? "picture painter" : "wave painter"}
      style={picture ? { aspectRatio: `${grid.width} / ${grid.height}` } : undefined}
      tabIndex={0}
      role="application"
      aria-label="Damaged item: drag to hide a part; or arrow keys to move the brush, space to paint"
      onPointerDown={down}
      onPointerMove={move}
      onPointerUp={() => (last.current = null)}
      onPointerCancel={() => (last.current = null)}
      onPointerLeave={() => setCursor(null)}
      onFocus={() => setCursor((now) => now ?? middle(grid))}
      onBlur={() => setCursor(null)}
      onKeyDown={key}
    />
  );
}

function placeOf(event: PointerEvent, { width, height }: Grid): Place {
  const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * width,
    // Along a signal only the time counts.
    y: height === 1 ? 0.5 : ((event.clientY - box.top) / box.height) * height,
  };
}

function middle({ width, height }: Grid): Place {
  return { x: Math.floor(width / 2) + 0.5, y: Math.floor(height / 2) + 0.5 };
}

/** One step on, a hundredth of the width where pixels are many. */
function within({ width, height }: Grid, from: Place, [dx, dy]: [number, number]): Place {
  const step = Math.ceil(width / 100);
  const stay = (v: number, size: number) => Math.min(size - 0.5, Math.max(0.5, v));
  return { x: stay(from.x + step * dx, width), y: stay(from.y + step * dy, height) };
}

type Brush = Place & { radius: number };

function draw(
  canvas: HTMLCanvasElement,
  x: ArrayLike<number>,
  mask: Mask,
  grid: Grid,
  brush: Brush | null,
): void {
  const pen = penOf(canvas);
  if (manifest.value.item.kind === "picture") drawPicture(canvas, x, grid);
  else drawSignal(canvas, manifest.value.item, x, cssColour("--accent"));
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const scale: [number, number] = [canvas.width / grid.width, canvas.height / grid.height];
  pen.fillStyle = cssColour("--wash");
  const parts = hiddenParts(mask, grid, scale);
  pen.fill(parts);
  pen.fillStyle = stripes(pen, cssColour("--soft"));
  pen.fill(parts);
  if (brush) outline(pen, brush, grid, scale);
}

/** Kept in memory: a canvas on a weak or pretended graphics card would lag behind the hand. */
function penOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  return canvas.getContext("2d", { willReadFrequently: true })!;
}

const SHARP = 704; // pixels across: the picture is shown at half of that

function drawPicture(canvas: HTMLCanvasElement, x: ArrayLike<number>, { width, height }: Grid): void {
  const pixels = document.createElement("canvas");
  penOf(pixels); // so that `paint` keeps it in memory, too
  paint(pixels, pictureBytes(manifest.value.item, x), width, height);
  const times = Math.max(1, Math.ceil(SHARP / width));
  if (canvas.width !== times * width) {
    canvas.width = times * width;
    canvas.height = times * height;
  }
  const pen = penOf(canvas);
  pen.imageSmoothingEnabled = false;
  pen.drawImage(pixels, 0, 0, canvas.width, canvas.height);
}

/** The hidden pixels, those side by side as one box. */
function hiddenParts(mask: Mask, { width }: Grid, [across, down]: [number, number]): Path2D {
  const path = new Path2D();
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) continue;
    const [start, row] = [i, Math.floor(i / width)];
    while (i + 1 < (row + 1) * width && mask[i + 1]) i++;
    path.rect((start - row * width) * across, row * down, (i - start + 1) * across, down);
  }
  return path;
}

/** Thin slanted lines, as wide on the page whatever the canvas has for pixels. */
function stripes(pen: CanvasRenderingContext2D, colour: string): CanvasPattern {
  const size = Math.max(4, Math.round((7 * pen.canvas.width) / (pen.canvas.clientWidth || SHARP / 2)));
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const line = penOf(tile);
  line.strokeStyle = colour;
  line.lineWidth = size / 7;
  for (const shift of [-size, 0, size]) {
    line.moveTo(shift - 1, size + 1);
    line.lineTo(shift + size + 1, -1);
  }
  line.stroke();
  return pen.createPattern(tile, "repeat")!;
}

/** Show what the brush would cover: dark within light, to be seen on any ground. */
function outline(
  pen: CanvasRenderingContext2D,
  { x, y, radius }: Brush,
  grid: Grid,
  [across, down]: [number, number],
): void {
  const path = new Path2D();
  const reach = Math.max(radius, 0.5);
  if (grid.height === 1) path.rect((x - reach) * across, 0, 2 * reach * across, down);
  else path.arc(x * across, y * down, reach * across, 0, 2 * Math.PI);
  for (const [colour, width] of [["#ffffff", 5], ["#000000", 2]] as const) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.stroke(path);
  }
}
