/** An item on which a round brush hides values; hidden parts are hatched. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Grid, Mask, Point2D } from "../mask";
import { drawSignal, paint, imageBytes } from "../draw";
import { cssColour, useDark, useWidth } from "../theme";
import { manifest } from "../state";

interface Props {
  x: ArrayLike<number> | null;
  mask: Mask;
  grid: Grid;
  radius: number;
  /** Called at the start of a stroke, to save the state for undo. */
  onStart: () => void;
  onStroke: (from: Point2D, to: Point2D, erase: boolean) => void;
  onUndo: () => void;
}

const STEPS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
const ERASER = 32; // the eraser button of a stylus

export function MaskPainter({ x, mask, grid, radius, onStart, onStroke, onUndo }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = useRef<Point2D | null>(null); // null unless a button is pressed
  const [cursor, setCursor] = useState<Point2D | null>(null);
  const [dark, wide] = [useDark(), useWidth(canvas)];
  const image = manifest.value.item.kind === "image";

  useLayoutEffect(() => {
    if (x && canvas.current) draw(canvas.current, x, mask, grid, cursor && { ...cursor, radius });
  }, [x, mask, cursor, radius, dark, wide]);

  const down = (event: PointerEvent) => {
    if (event.button !== 0 && !(event.buttons & ERASER)) return;
    canvas.current!.setPointerCapture(event.pointerId);
    last.current = positionOf(event, grid);
    onStart();
    onStroke(last.current, last.current, Boolean(event.buttons & ERASER));
  };
  const move = (event: PointerEvent) => {
    const place = positionOf(event, grid);
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
    event.preventDefault(); // do not scroll the page
  };

  return (
    <canvas
      ref={canvas}
      class={image ? "image painter" : "wave painter"}
      style={image ? { aspectRatio: `${grid.width} / ${grid.height}` } : undefined}
      tabIndex={0}
      role="application"
      aria-label="Item to mask: drag to hide a part, or use the arrow keys to move the brush and Space to paint"
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

function positionOf(event: PointerEvent, { width, height }: Grid): Point2D {
  const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
  return {
    x: ((event.clientX - box.left) / box.width) * width,
    // Only the time matters for a signal.
    y: height === 1 ? 0.5 : ((event.clientY - box.top) / box.height) * height,
  };
}

function middle({ width, height }: Grid): Point2D {
  return { x: Math.floor(width / 2) + 0.5, y: Math.floor(height / 2) + 0.5 };
}

/** Move by one step: one pixel, or a hundredth of a large width. */
function within({ width, height }: Grid, from: Point2D, [dx, dy]: [number, number]): Point2D {
  const step = Math.ceil(width / 100);
  const stay = (v: number, size: number) => Math.min(size - 0.5, Math.max(0.5, v));
  return { x: stay(from.x + step * dx, width), y: stay(from.y + step * dy, height) };
}

type Brush = Point2D & { radius: number };

function draw(
  canvas: HTMLCanvasElement,
  x: ArrayLike<number>,
  mask: Mask,
  grid: Grid,
  brush: Brush | null,
): void {
  const context = contextOf(canvas);
  if (manifest.value.item.kind === "image") drawImage(canvas, x, grid);
  else drawSignal(canvas, manifest.value.item, x, cssColour("--accent"));
  context.setTransform(1, 0, 0, 1, 0, 0);
  const scale: [number, number] = [canvas.width / grid.width, canvas.height / grid.height];
  context.fillStyle = cssColour("--wash");
  const parts = hiddenParts(mask, grid, scale);
  context.fill(parts);
  context.fillStyle = stripes(context, cssColour("--soft"));
  context.fill(parts);
  if (brush) outline(context, brush, grid, scale);
}

/** A software-rendered context, because a slow GPU would lag behind the pointer. */
function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  return canvas.getContext("2d", { willReadFrequently: true })!;
}

const SHARP = 704; // minimum width of the canvas in pixels, twice the displayed width

function drawImage(canvas: HTMLCanvasElement, x: ArrayLike<number>, { width, height }: Grid): void {
  const pixels = document.createElement("canvas");
  contextOf(pixels); // so that `paint` also renders in software
  paint(pixels, imageBytes(manifest.value.item, x), width, height);
  const times = Math.max(1, Math.ceil(SHARP / width));
  if (canvas.width !== times * width) {
    canvas.width = times * width;
    canvas.height = times * height;
  }
  const context = contextOf(canvas);
  context.imageSmoothingEnabled = false;
  context.drawImage(pixels, 0, 0, canvas.width, canvas.height);
}

/** The hidden pixels as rectangles, one per run of adjacent pixels. */
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

/** A hatching pattern with the same line width on the page for any canvas resolution. */
function stripes(context: CanvasRenderingContext2D, colour: string): CanvasPattern {
  const size = Math.max(4, Math.round((7 * context.canvas.width) / (context.canvas.clientWidth || SHARP / 2)));
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const line = contextOf(tile);
  line.strokeStyle = colour;
  line.lineWidth = size / 7;
  for (const shift of [-size, 0, size]) {
    line.moveTo(shift - 1, size + 1);
    line.lineTo(shift + size + 1, -1);
  }
  line.stroke();
  return context.createPattern(tile, "repeat")!;
}

/** Outline the brush in black and white, visible on any background. */
function outline(
  context: CanvasRenderingContext2D,
  { x, y, radius }: Brush,
  grid: Grid,
  [across, down]: [number, number],
): void {
  const path = new Path2D();
  const reach = Math.max(radius, 0.5);
  if (grid.height === 1) path.rect((x - reach) * across, 0, 2 * reach * across, down);
  else path.arc(x * across, y * down, reach * across, 0, 2 * Math.PI);
  for (const [colour, width] of [["#ffffff", 5], ["#000000", 2]] as const) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
  }
}
