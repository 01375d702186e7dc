/** The latent map: positions of items, and decoded positions between them. */

import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { useQuery } from "../SampleView";
import type { Numbers } from "../backend";
import type { Column } from "../manifest";
import { backend, selectedRow, colouredBy, lasso, manifest } from "../state";
import { loadMapData, type MapData } from "./map/mapData";
import { Legend } from "./map/Legend";
import { highlighted, savedView, pinned, positionOf, hovered, useFocused } from "./map/focus";
import { FocusPanel, Tooltip } from "./map/FocusPanel";
import { Selection } from "./map/Selection";
import { rowsOfClass, tenth } from "./map/selectedRows";
import { byClass, byNumber, faded, plain } from "./map/pointColours";
import { MapCanvas } from "./map/MapCanvas";
import "./MapView.css";

export function MapView() {
  const { map, no_data_reason } = manifest.value;
  if (map) return <Loading />;
  return <p class="empty" role="status">No map is available for this run{no_data_reason ? `: ${no_data_reason}` : "."}</p>;
}

function Loading() {
  const mapData = useQuery(() => loadMapData(backend.value), []);
  return mapData ? <Map mapData={mapData} /> : <p class="empty" role="status">Loading the map…</p>;
}

function Map({ mapData }: { mapData: MapData }) {
  const { columns, item, map } = manifest.value;
  const column = columns.find((c) => c.array === colouredBy.value) ?? null;
  const answer = useQuery(
    async () => column && { column, numbers: await backend.value.array(column.array) },
    [column],
  );
  const values = column && answer; // the previous column remains until the next one is loaded
  const colours = useMemo(() => coloursOf(mapData, values?.column ?? null, values?.numbers), [values]);
  const fadedPoints = useMemo(() => faded(colours, highlighted.value, lasso.value), [colours, highlighted.value, lasso.value]);
  const [lassoing, setLassoing] = useState(false);
  const [decoded, setDecoded] = useState(false);
  useEffect(() => {
    if (mapData.points && (!pinned.value || "row" in pinned.value)) pinned.value = { row: selectedRow.value };
  }, []);
  const focus = hovered.value ?? pinned.value ?? start(mapData);
  const focused = useFocused(mapData, focus);
  const drawable = item.kind === "image" || item.kind === "signal";
  return (
    <>
      <div class="bar">
        {columns.length > 0 && mapData.points && <ColourBy columns={columns} />}
        {drawable && (
          <button aria-pressed={decoded} onClick={() => setDecoded(!decoded)}>Decoded background</button>
        )}
        {mapData.points && (
          <>
            <button aria-pressed={lassoing} onClick={() => setLassoing(!lassoing)}>Lasso</button>
            {values && <SelectBy column={values.column} numbers={values.numbers} />}
          </>
        )}
      </div>
      <div class="split">
        <div>
          <MapCanvas {...{ mapData, colours, lassoing, decoded }} faded={fadedPoints}>
            {hovered.value && focused && <TooltipBox mapData={mapData}><Tooltip mapData={mapData} focused={focused} /></TooltipBox>}
          </MapCanvas>
          <Legend colours={colours} name={values?.column.name ?? ""} unit={unitOf(values?.column ?? null)} />
          <p class="soft">
            Horizontal: {map!.axes[0]} · vertical: {map!.axes[1]}. {caption(mapData, lassoing)}
          </p>
        </div>
        <div class="side">
          <FocusPanel mapData={mapData} focused={focused} />
          <Selection mapData={mapData} />
        </div>
      </div>
    </>
  );
}

/** Show the centre of the map if no item is selected. */
function start(mapData: MapData) {
  return { x: (mapData.box.left + mapData.box.right) / 2, y: (mapData.box.bottom + mapData.box.top) / 2 };
}

function caption(mapData: MapData, lassoing: boolean): string {
  if (lassoing) return "Draw around items to select them.";
  const hatched = mapData.density
    ? ` Hatched regions contain no ${mapData.points ? "items" : "samples of the prior"}: the model was not trained there.`
    : "";
  return `${mapData.points ? "Each point is an item. " : ""}Point at any position to decode it.${hatched}`;
}

function coloursOf(mapData: MapData, column: Column | null, values: Numbers | undefined) {
  if (!column || !values) return plain(mapData.n);
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
          highlighted.value = null;
          colouredBy.value = e.currentTarget.value;
        }}
      >
        {columns.map((c) => <option key={c.array} value={c.array}>{c.name}</option>)}
        <option value="">none</option>
      </select>
    </label>
  );
}

/** Select items without a pointer: by class, or the lowest or highest 10%. */
function SelectBy({ column, numbers }: { column: Column; numbers: Numbers }) {
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
          : ["lowest", "highest"].map((end) => <option key={end} value={end}>{end} 10%</option>)}
      </select>
    </label>
  );
}

/** A tooltip next to the focused position. */
function TooltipBox({ mapData, children }: { mapData: MapData; children: ComponentChildren }) {
  const { camera } = savedView;
  if (!camera || !hovered.value) return null;
  const [x, y] = camera.toScreen(...positionOf(mapData, hovered.value));
  const style = {
    ...(x < camera.width / 2 ? { left: `${x + 16}px` } : { right: `${camera.width - x + 16}px` }),
    ...(y < camera.height / 2 ? { top: `${y + 16}px` } : { bottom: `${camera.height - y + 16}px` }),
  };
  return <div class="tooltip" style={style} aria-hidden="true">{children}</div>;
}
