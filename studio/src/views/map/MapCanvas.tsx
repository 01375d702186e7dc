/** The canvas of the map with mouse, touch and keyboard control. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { attempt, backend, selectedRow, selectedClass, lasso, manifest } from "../../state";
import { formatCount } from "../../format";
import type { MapData } from "./mapData";
import { savedView, pinned, positionOf, hovered, type Focus } from "./focus";
import { rowAt, rowsInside } from "./hitTest";
import { Scene, type Point2D } from "./scene";
import type { PointColours } from "./pointColours";

/** Maximum distance of a hit point in pixels, for mouse and touch. */
const REACH = 7;
const REACH_FINGER = 16;
/** A press that moves less than this many pixels is a click. */
const STILL = 4;
const STEP = 10;

interface Props {
  mapData: MapData;
  colours: PointColours;
  faded: Uint8Array | null;
  lassoing: boolean;
  decoded: boolean;
  /** The tooltip. */
  children: ComponentChildren;
}

export function MapCanvas({ mapData, colours, faded, lassoing, decoded, children }: Props) {
  const background = useRef<HTMLCanvasElement>(null);
  const points = useRef<HTMLCanvasElement>(null);
  const marks = useRef<SVGSVGElement>(null);
  const scene = useRef<Scene | null>(null);
  const [ready, setReady] = useState(false);
  const controls = useControls(scene, mapData, faded, lassoing);

  useEffect(() => {
    const layers = { background: background.current!, points: points.current!, marks: marks.current! };
    const fail = (error: unknown) => void attempt(Promise.reject(error));
    const created = new Scene(layers, mapData, backend.value, savedView.camera, fail);
    scene.current = created;
    savedView.camera = created.camera;
    setReady(true);
    const watch = new ResizeObserver(() => created.resize());
    watch.observe(layers.background);
    return () => {
      watch.disconnect();
      created.destroy();
    };
  }, [mapData]);
  useEffect(() => scene.current?.paint(colours, faded), [ready, colours, faded]);
  useEffect(() => scene.current?.setDecoded(decoded, selectedClass.value), [ready, decoded, selectedClass.value]);
  useEffect(() => {
    const ring = hovered.value && "row" in hovered.value ? positionOf(mapData, hovered.value) : null;
    scene.current?.mark({ ring, pinned: pinned.value && positionOf(mapData, pinned.value) });
  }, [ready, hovered.value, pinned.value]);

  const zoom = (factor: number) => {
    scene.current?.camera.zoom(factor);
    scene.current?.moved();
  };
  const { axes } = manifest.value.map!;
  return (
    <div class="map">
      <div class={lassoing ? "stage lassoing" : "stage"}>
        <canvas ref={background} aria-hidden="true" />
        <div class="points"><canvas ref={points} aria-hidden="true" /></div>
        <svg
          ref={marks}
          class="controls"
          tabIndex={0}
          role="application"
          aria-label={`${mapData.n ? `Map of ${formatCount(mapData.n)} items` : "Map"}, ${axes[0]} by ${axes[1]}`}
          aria-describedby="map-keys"
          {...controls}
        >
          {["pinned", "ring", "cross", "lasso"].map((name) => (
            <g key={name}>
              <path class={`rim ${name}`} />
              <path class={name} />
            </g>
          ))}
        </svg>
        {children}
        <div class="zoom" role="group" aria-label="Zoom">
          <button aria-label="Zoom in" onClick={() => zoom(1.5)}>+</button>
          <button aria-label="Zoom out" onClick={() => zoom(1 / 1.5)}>−</button>
          <button aria-label="Fit the whole map" onClick={() => scene.current?.whole()}>⤢</button>
        </div>
      </div>
      {scene.current?.note && <p class="note">{scene.current.note}</p>}
      <p class="unseen" id="map-keys">
        Arrow keys move a cross-hair, with Shift in larger steps. N jumps to the nearest item. Enter selects
        it. Plus and minus zoom, 0 fits the whole map. Escape clears the selection.
      </p>
    </div>
  );
}

/** Event handlers for mouse, touch, wheel and keyboard. */
function useControls(
  scene: { current: Scene | null },
  mapData: MapData,
  faded: Uint8Array | null,
  lassoing: boolean,
) {
  const pointers = useRef(new Map<number, { x: number; y: number }>());
  const pressed = useRef<{ x: number; y: number; moved: boolean; mode: "focus" | "pan" | "lasso" } | null>(null);
  const line = useRef<Point2D[]>([]);
  const cross = useRef<Point2D | null>(null);

  const pixel = (e: { clientX: number; clientY: number; currentTarget: EventTarget | null }) => {
    const box = (e.currentTarget as Element).getBoundingClientRect();
    return { x: e.clientX - box.left, y: e.clientY - box.top };
  };
  const focusAt = (place: Point2D, reach: number): Focus => {
    const { camera } = scene.current!;
    const row = mapData.points ? rowAt(mapData.points, place, [camera.sx, camera.sy], reach, faded) : -1;
    return row >= 0 ? { row } : { x: place[0], y: place[1] };
  };
  const pin = (focus: Focus) => {
    pinned.value = focus;
    if ("row" in focus) selectedRow.value = focus.row;
  };
  const clearHover = () => {
    cross.current = null;
    hovered.value = null;
    scene.current?.mark({ cross: null });
  };

  const onPointerDown = (e: PointerEvent) => {
    if (e.button !== 0 || !scene.current) return;
    const at = pixel(e);
    (e.currentTarget as Element).setPointerCapture(e.pointerId);
    pointers.current.set(e.pointerId, at);
    const mode = lassoing || e.shiftKey ? "lasso" : e.pointerType === "touch" ? "focus" : "pan";
    pressed.current = { ...at, moved: false, mode: pointers.current.size > 1 ? "pan" : mode };
    line.current = mode === "lasso" && mapData.points ? [scene.current.camera.toPlace(at.x, at.y)] : [];
  };

  const onPointerMove = (e: PointerEvent) => {
    if (!scene.current) return;
    const at = pixel(e);
    const press = pressed.current;
    const { camera } = scene.current;
    if (pointers.current.size > 1) return pinch(e.pointerId, at);
    if (press && !press.moved && Math.hypot(at.x - press.x, at.y - press.y) < STILL) return;
    if (press) press.moved = true;
    if (press?.mode === "pan") {
      hovered.value = null;
      camera.pan(at.x - press.x, at.y - press.y);
      [press.x, press.y] = [at.x, at.y];
      scene.current.moved();
    } else if (press?.mode === "lasso") {
      line.current.push(camera.toPlace(at.x, at.y));
      scene.current.mark({ lasso: line.current });
    } else {
      if (cross.current) clearHover();
      hovered.value = focusAt(camera.toPlace(at.x, at.y), e.pointerType === "touch" ? REACH_FINGER : REACH);
    }
  };

  /** Pan and zoom with two fingers. */
  const pinch = (id: number, at: { x: number; y: number }) => {
    const [a, b] = [...pointers.current.entries()].slice(0, 2);
    const was = [a[1], b[1]];
    const now = [id === a[0] ? at : a[1], id === b[0] ? at : b[1]];
    pointers.current.set(id, at);
    const middle = (p: { x: number; y: number }[]) => [(p[0].x + p[1].x) / 2, (p[0].y + p[1].y) / 2];
    const apart = (p: { x: number; y: number }[]) => Math.hypot(p[0].x - p[1].x, p[0].y - p[1].y) || 1;
    const [[x0, y0], [x1, y1]] = [middle(was), middle(now)];
    scene.current!.camera.pan(x1 - x0, y1 - y0);
    scene.current!.camera.zoom(apart(now) / apart(was), x1, y1);
    scene.current!.moved();
    if (pressed.current) pressed.current.moved = true;
  };

  const onPointerUp = (e: PointerEvent) => {
    const press = pressed.current;
    pointers.current.delete(e.pointerId);
    if (!press || !scene.current || pointers.current.size) return;
    pressed.current = null;
    const { camera } = scene.current;
    const at = pixel(e);
    if (press.mode === "lasso" && press.moved) {
      if (mapData.points) lasso.value = rowsInside(mapData.points, line.current, faded);
      scene.current.mark({ lasso: [] });
    } else if (!press.moved || press.mode === "focus") {
      pin(focusAt(camera.toPlace(at.x, at.y), e.pointerType === "touch" ? REACH_FINGER : REACH));
    }
    if (e.pointerType === "touch") hovered.value = null;
  };

  const onPointerCancel = (e: PointerEvent) => {
    pointers.current.delete(e.pointerId);
    pressed.current = null;
    scene.current?.mark({ lasso: [] });
  };

  const onWheel = (e: WheelEvent) => {
    if (!scene.current) return;
    e.preventDefault();
    const { x, y } = pixel(e);
    const lines = e.deltaMode === 1 ? 20 : 1;
    const { camera } = scene.current;
    camera.zoom(Math.exp((-e.deltaY * lines) / 400), x, y);
    scene.current.moved();
    hovered.value = focusAt(camera.toPlace(x, y), REACH);
  };

  const onKeyDown = (e: KeyboardEvent) => {
    if (!scene.current || e.ctrlKey || e.metaKey || e.altKey) return;
    const { camera } = scene.current;
    const step = e.shiftKey ? 6 * STEP : STEP;
    const moves: Record<string, Point2D> = {
      ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step],
    };
    const begin: Point2D = pinned.value ? positionOf(mapData, pinned.value) : [camera.x, camera.y];
    const place = cross.current ?? begin;
    if (e.key in moves) {
      const [x, y] = camera.toScreen(...place);
      moveCross(camera.toPlace(x + moves[e.key][0], y + moves[e.key][1]));
    } else if (e.key.toLowerCase() === "n" && mapData.points) {
      const row = rowAt(mapData.points, place, [camera.sx, camera.sy], Infinity, faded);
      if (row >= 0) moveCross(positionOf(mapData, { row }));
    } else if (e.key === "Enter" || e.key === " ") pin(focusAt(place, REACH));
    else if (e.key === "+" || e.key === "=") zoomAt(1.25, place);
    else if (e.key === "-") zoomAt(1 / 1.25, place);
    else if (e.key === "0") scene.current.whole();
    else if (e.key === "Escape") {
      clearHover();
      lasso.value = new Int32Array();
    } else return;
    e.preventDefault();
  };

  /** Move the cross-hair to a position and scroll it into view. */
  const moveCross = (place: Point2D) => {
    const { camera } = scene.current!;
    cross.current = place;
    const [x, y] = camera.toScreen(...place);
    const edge = 30;
    const out = (v: number, size: number) => (v < edge ? edge - v : v > size - edge ? size - edge - v : 0);
    const [dx, dy] = [out(x, camera.width), out(y, camera.height)];
    if (dx || dy) {
      camera.pan(dx, dy);
      scene.current!.moved();
    }
    scene.current!.mark({ cross: place });
    hovered.value = focusAt(place, REACH);
  };

  const zoomAt = (factor: number, place: Point2D) => {
    scene.current!.camera.zoom(factor, ...scene.current!.camera.toScreen(...place));
    scene.current!.moved();
  };

  const onPointerLeave = () => {
    if (!cross.current) hovered.value = null;
  };

  const pointer = { onPointerDown, onPointerMove, onPointerUp, onPointerCancel, onPointerLeave };
  return { ...pointer, onWheel, onKeyDown, onBlur: clearHover };
}
