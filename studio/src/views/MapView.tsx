/** The latent map: where items lie, and what the decoder makes of the land between. */

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { useAnswer } from "../Thing";
import type { Numbers } from "../backend";
import type { Column } from "../manifest";
import { backend, chosen, colouredBy, lasso, manifest } from "../state";
import { groundOf, type Ground } from "./map/ground";
import { Legend } from "./map/Legend";
import { alone, before, kept, placeOf, under, useSeen } from "./map/looking";
import { Panel, Tip } from "./map/Panel";
import { Selection } from "./map/Selection";
import { rowsOfClass, tenth } from "./map/rows";
import { byClass, byNumber, faded, plain } from "./map/shades";
import { Stage } from "./map/Stage";
import "./MapView.css";

export function MapView() {
  const { map, missing } = manifest.value;
  if (map) return <Loading />;
  return <p class="empty" role="status">There is no map of this run{missing ? `: ${missing}` : "."}</p>;
}

function Loading() {
  const ground = useAnswer(() => groundOf(backend.value), []);
  return ground ? <Map ground={ground} /> : <p class="empty" role="status">Surveying the land…</p>;
}

function Map({ ground }: { ground: Ground }) {
  const { columns, item, map } = manifest.value;
  const column = columns.find((c) => c.array === colouredBy.value) ?? null;
  const answer = useAnswer(
    async () => column && { column, numbers: await backend.value.array(column.array) },
    [column],
  );
  const values = column && answer; // the answer of the last column stays until the next
  const shades = useMemo(() => shadesOf(ground, values?.column ?? null, values?.numbers), [values]);
  const fade = useMemo(() => faded(shades, alone.value, lasso.value), [shades, alone.value, lasso.value]);
  const [lassoing, setLassoing] = useState(false);
  const [decoded, setDecoded] = useState(false);
  useEffect(() => {
    if (ground.points && (!kept.value || "row" in kept.value)) kept.value = { row: chosen.value };
  }, []);
  const look = under.value ?? kept.value ?? start(ground);
  const seen = useSeen(ground, look);
  const drawable = item.kind === "picture" || item.kind === "signal";
  return (
    <>
      <div class="bar">
        {columns.length > 0 && ground.points && <ColourBy columns={columns} />}
        {drawable && (
          <button aria-pressed={decoded} onClick={() => setDecoded(!decoded)}>Decoded land</button>
        )}
        {ground.points && (
          <>
            <button aria-pressed={lassoing} onClick={() => setLassoing(!lassoing)}>Lasso</button>
            {values && <Choose column={values.column} numbers={values.numbers} />}
          </>
        )}
      </div>
      <div class="split">
        <div>
          <Stage {...{ ground, shades, lassoing, decoded }} faded={fade}>
            {under.value && seen && <Beside ground={ground}><Tip ground={ground} seen={seen} /></Beside>}
          </Stage>
          <Legend shades={shades} name={values?.column.name ?? ""} unit={unitOf(values?.column ?? null)} />
          <p class="soft">
            Across: {map!.axes[0]} · up: {map!.axes[1]} · {caption(ground, lassoing)}
          </p>
        </div>
        <div class="side">
          <Panel ground={ground} seen={seen} />
          <Selection ground={ground} />
        </div>
      </div>
    </>
  );
}

/** Look at the middle of the land where there is no item in hand. */
function start(ground: Ground) {
  return { x: (ground.box.left + ground.box.right) / 2, y: (ground.box.bottom + ground.box.top) / 2 };
}

function caption(ground: Ground, lassoing: boolean): string {
  if (lassoing) return "draw around items to select them.";
  const hatched = ground.density
    ? `hatched land has no ${ground.points ? "items" : "codes of the prior"}: the model never learned it.`
    : "";
  const begin = ground.points ? "a point is an item; point" : "point";
  return `${begin} at land to see what it decodes to; ${hatched}`;
}

function shadesOf(ground: Ground, column: Column | null, values: Numbers | undefined) {
  if (!column || !values) return plain(ground.n);
  return column.categories ? byClass(values, column.categories) : byNumber(values);
}

function unitOf(column: Column | null): string {
  return manifest.value.scores.find((s) => s.array === column?.array)?.unit ?? "";
}

function ColourBy({ columns }: { columns: Column[] }) {
  return (
    <label>
      Colour by
      <select
        value={colouredBy.value}
        onChange={(e) => {
          alone.value = null;
          colouredBy.value = e.currentTarget.value;
        }}
      >
        {columns.map((c) => <option key={c.array} value={c.array}>{c.name}</option>)}
        <option value="">nothing</option>
      </select>
    </label>
  );
}

/** Select without a pointer: a class, or of numbers a tenth. */
function Choose({ column, numbers }: { column: Column; numbers: Numbers }) {
  const choose = (text: string) => {
    if (text === "lowest" || text === "highest") lasso.value = tenth(numbers, text);
    else if (text !== "") lasso.value = rowsOfClass(numbers, Number(text));
  };
  return (
    <label>
      Select
      <select value="" onChange={(e) => {
        choose(e.currentTarget.value);
        e.currentTarget.value = "";
      }}>
        <option value="">by {column.name}…</option>
        {column.categories
          ? column.categories.map((name, k) => <option key={k} value={k}>{name}</option>)
          : ["lowest", "highest"].map((end) => <option key={end} value={end}>{end} tenth</option>)}
      </select>
    </label>
  );
}

/** A small card beside what one looks at. */
function Beside({ ground, children }: { ground: Ground; children: ComponentChildren }) {
  const { camera } = before;
  if (!camera || !under.value) return null;
  const [x, y] = camera.toScreen(...placeOf(ground, under.value));
  const style = {
    ...(x < camera.width / 2 ? { left: `${x + 16}px` } : { right: `${camera.width - x + 16}px` }),
    ...(y < camera.height / 2 ? { top: `${y + 16}px` } : { bottom: `${camera.height - y + 16}px` }),
  };
  return <div class="tip" style={style} aria-hidden="true">{children}</div>;
}
