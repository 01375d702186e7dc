/** The map itself, under the pointer, the fingers and the keys. */

import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { attempt, backend, chosen, condition, lasso, manifest } from "../../state";
import { count } from "../../words";
import type { Ground } from "./ground";
import { before, kept, placeOf, under, type Look } from "./looking";
import { rowAt, rowsInside } from "./places";
import { Scene, type Place } from "./scene";
import type { Shades } from "./shades";

/** A point is hit so near, in pixels; of fingers, which hide what they touch, farther. */
const REACH = 7;
const REACH_FINGER = 16;
/** A press that moves less is a click. */
const STILL = 4;
const STEP = 10;

interface Props {
  ground: Ground;
  shades: Shades;
  faded: Uint8Array | null;
  lassoing: boolean;
  decoded: boolean;
  /** Drawn beside the pointer. */
  children: ComponentChildren;
}

export function Stage({ ground, shades, faded, lassoing, decoded, children }: Props) {
  const land = useRef<HTMLCanvasElement>(null);
  const points = useRef<HTMLCanvasElement>(null);
  const marks = useRef<SVGSVGElement>(null);
  const scene = useRef<Scene | null>(null);
  const [ready, setReady] = useState(false);
  const hands = useHands(scene, ground, faded, lassoing);

  useEffect(() => {
    const layers = { land: land.current!, points: points.current!, marks: marks.current! };
    const fail = (error: unknown) => void attempt(Promise.reject(error));
    const made = new Scene(layers, ground, backend.value, before.camera, fail);
    scene.current = made;
    before.camera = made.camera;
    setReady(true);
    const watch = new ResizeObserver(() => made.resize());
    watch.observe(layers.land);
    return () => {
      watch.disconnect();
      made.destroy();
    };
  }, [ground]);
  useEffect(() => scene.current?.paint(shades, faded), [ready, shades, faded]);
  useEffect(() => scene.current?.decodeLand(decoded, condition.value), [ready, decoded, condition.value]);
  useEffect(() => {
    const ring = under.value && "row" in under.value ? placeOf(ground, under.value) : null;
    scene.current?.mark({ ring, kept: kept.value && placeOf(ground, kept.value) });
  }, [ready, under.value, kept.value]);

  const zoom = (factor: number) => {
    scene.current?.camera.zoom(factor);
    scene.current?.moved();
  };
  const { axes } = manifest.value.map!;
  return (
    <div class="map">
      <div class={lassoing ? "stage lassoing" : "stage"}>
        <canvas ref={land} aria-hidden="true" />
        <div class="points"><canvas ref={points} aria-hidden="true" /></div>
        <svg
          ref={marks}
          class="hands"
          tabIndex={0}
          role="application"
          aria-label={`${ground.n ? `Map of ${count(ground.n)} items` : "Map"}, ${axes[0]} by ${axes[1]}`}
          aria-describedby="map-keys"
          {...hands}
        >
          {["kept", "ring", "cross", "lasso"].map((name) => (
            <g key={name}>
              <path class={`rim ${name}`} />
              <path class={name} />
            </g>
          ))}
        </svg>
        {children}
        <div class="zoom" role="group" aria-label="Zoom">
          <button aria-label="Nearer" onClick={() => zoom(1.5)}>+</button>
          <button aria-label="Farther" onClick={() => zoom(1 / 1.5)}>−</button>
          <button aria-label="The whole map" onClick={() => scene.current?.whole()}>⤢</button>
        </div>
      </div>
      {scene.current?.note && <p class="note">{scene.current.note}</p>}
      <p class="unseen" id="map-keys">
        Arrow keys move a cross-hair, with Shift farther. N jumps to the nearest item. Enter keeps what is
        there. Plus, minus and 0 zoom. Escape lets go.
      </p>
    </div>
  );
}

/** What pointer, fingers, wheel and keys do. */
function useHands(
  scene: { current: Scene | null },
  ground: Ground,
  faded: Uint8Array | null,
  lassoing: boolean,
) {
  const down = useRef(new Map<number, { x: number; y: number }>());
  const held = useRef<{ x: number; y: number; moved: boolean; how: "look" | "pan" | "lasso" } | null>(null);
  const line = useRef<Place[]>([]);
  const cross = useRef<Place | null>(null);

  const pixel = (e: { clientX: number; clientY: number; currentTarget: EventTarget | null }) => {
    const box = (e.currentTarget as Element).getBoundingClientRect();
    return { x: e.clientX - box.left, y: e.clientY - box.top };
  };
  const lookAt = (place: Place, reach: number): Look => {
    const { camera } = scene.current!;
    const row = ground.points ? rowAt(ground.points, place, [camera.sx, camera.sy], reach, faded) : -1;
    return row >= 0 ? { row } : { x: place[0], y: place[1] };
  };
  const keep = (look: Look) => {
    kept.value = look;
    if ("row" in look) chosen.value = look.row;
  };
  const drop = () => {
    cross.current = null;
    under.value = null;
    scene.current?.mark({ cross: null });
  };

  const onPointerDown = (e: PointerEvent) => {
    if (e.button !== 0 || !scene.current) return;
    const at = pixel(e);
    (e.currentTarget as Element).setPointerCapture(e.pointerId);
    down.current.set(e.pointerId, at);
    const how = lassoing || e.shiftKey ? "lasso" : e.pointerType === "touch" ? "look" : "pan";
    held.current = { ...at, moved: false, how: down.current.size > 1 ? "pan" : how };
    line.current = how === "lasso" && ground.points ? [scene.current.camera.toPlace(at.x, at.y)] : [];
  };

  const onPointerMove = (e: PointerEvent) => {
    if (!scene.current) return;
    const at = pixel(e);
    const hold = held.current;
    const { camera } = scene.current;
    if (down.current.size > 1) return pinch(e.pointerId, at);
    if (hold && !hold.moved && Math.hypot(at.x - hold.x, at.y - hold.y) < STILL) return;
    if (hold) hold.moved = true;
    if (hold?.how === "pan") {
      under.value = null;
      camera.pan(at.x - hold.x, at.y - hold.y);
      [hold.x, hold.y] = [at.x, at.y];
      scene.current.moved();
    } else if (hold?.how === "lasso") {
      line.current.push(camera.toPlace(at.x, at.y));
      scene.current.mark({ lasso: line.current });
    } else {
      if (cross.current) drop();
      under.value = lookAt(camera.toPlace(at.x, at.y), e.pointerType === "touch" ? REACH_FINGER : REACH);
    }
  };

  /** Two fingers: the middle between them drags, their distance zooms. */
  const pinch = (id: number, at: { x: number; y: number }) => {
    const [a, b] = [...down.current.entries()].slice(0, 2);
    const was = [a[1], b[1]];
    const now = [id === a[0] ? at : a[1], id === b[0] ? at : b[1]];
    down.current.set(id, at);
    const middle = (p: { x: number; y: number }[]) => [(p[0].x + p[1].x) / 2, (p[0].y + p[1].y) / 2];
    const apart = (p: { x: number; y: number }[]) => Math.hypot(p[0].x - p[1].x, p[0].y - p[1].y) || 1;
    const [[x0, y0], [x1, y1]] = [middle(was), middle(now)];
    scene.current!.camera.pan(x1 - x0, y1 - y0);
    scene.current!.camera.zoom(apart(now) / apart(was), x1, y1);
    scene.current!.moved();
    if (held.current) held.current.moved = true;
  };

  const onPointerUp = (e: PointerEvent) => {
    const hold = held.current;
    down.current.delete(e.pointerId);
    if (!hold || !scene.current || down.current.size) return;
    held.current = null;
    const { camera } = scene.current;
    const at = pixel(e);
    if (hold.how === "lasso" && hold.moved) {
      if (ground.points) lasso.value = rowsInside(ground.points, line.current, faded);
      scene.current.mark({ lasso: [] });
    } else if (!hold.moved || hold.how === "look") {
      keep(lookAt(camera.toPlace(at.x, at.y), e.pointerType === "touch" ? REACH_FINGER : REACH));
    }
    if (e.pointerType === "touch") under.value = null;
  };

  const onPointerCancel = (e: PointerEvent) => {
    down.current.delete(e.pointerId);
    held.current = null;
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
    under.value = lookAt(camera.toPlace(x, y), REACH);
  };

  const onKeyDown = (e: KeyboardEvent) => {
    if (!scene.current || e.ctrlKey || e.metaKey || e.altKey) return;
    const { camera } = scene.current;
    const step = e.shiftKey ? 6 * STEP : STEP;
    const moves: Record<string, Place> = {
      ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step],
    };
    const begin: Place = kept.value ? placeOf(ground, kept.value) : [camera.x, camera.y];
    const place = cross.current ?? begin;
    if (e.key in moves) {
      const [x, y] = camera.toScreen(...place);
      stand(camera.toPlace(x + moves[e.key][0], y + moves[e.key][1]));
    } else if (e.key.toLowerCase() === "n" && ground.points) {
      const row = rowAt(ground.points, place, [camera.sx, camera.sy], Infinity, faded);
      if (row >= 0) stand(placeOf(ground, { row }));
    } else if (e.key === "Enter" || e.key === " ") keep(lookAt(place, REACH));
    else if (e.key === "+" || e.key === "=") nearer(1.25, place);
    else if (e.key === "-") nearer(1 / 1.25, place);
    else if (e.key === "0") scene.current.whole();
    else if (e.key === "Escape") {
      drop();
      lasso.value = new Int32Array();
    } else return;
    e.preventDefault();
  };

  /** Put the cross-hair on a place, and the camera after it. */
  const stand = (place: Place) => {
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
    under.value = lookAt(place, REACH);
  };

  const nearer = (factor: number, place: Place) => {
    scene.current!.camera.zoom(factor, ...scene.current!.camera.toScreen(...place));
    scene.current!.moved();
  };

  const onPointerLeave = () => {
    if (!cross.current) under.value = null;
  };

  const pointer = { onPointerDown, onPointerMove, onPointerUp, onPointerCancel, onPointerLeave };
  return { ...pointer, onWheel, onKeyDown, onBlur: drop };
}
