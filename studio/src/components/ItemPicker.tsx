/** Controls to choose an item by number, in order, at random or within a class. */

import { useState } from "preact/hooks";
import { manifest } from "../state";
import { classColumn, type RowLabels } from "./labels";
import { step } from "./itemPair";
import "./components.css";

interface Props {
  row: number;
  pick: (row: number) => void;
  /** Name of the choice for labels, such as "A". */
  name: string;
  known: RowLabels | null;
}

export function ItemPicker({ row, pick, name, known }: Props) {
  const n = manifest.value.rows?.n ?? 0;
  const column = classColumn(manifest.value);
  const labels = (column && known?.get(column)) ?? null;
  const [wanted, setWanted] = useState<number | null>(null);
  const move = (by: 1 | -1, from = row, of = wanted) => pick(step(labels, n, from, by, of));
  return (
    <div class="picker" role="group" aria-label={`Choose ${name}`}>
      <button onClick={() => move(-1)} aria-label={`Previous ${name}`} title="Previous">
        ‹
      </button>
      <input
        type="number"
        min={0}
        max={n - 1}
        value={row}
        aria-label={`Number of ${name}, 0 to ${n - 1}`}
        onInput={(e) => {
          const typed = e.currentTarget.valueAsNumber;
          if (Number.isInteger(typed) && typed >= 0 && typed < n) pick(typed);
        }}
        onBlur={(e) => (e.currentTarget.value = String(row))}
      />
      <button onClick={() => move(1)} aria-label={`Next ${name}`} title="Next">
        ›
      </button>
      <button
        onClick={() => move(1, Math.floor(n * Math.random()))}
        aria-label={`Random ${name}`}
      >
        Random
      </button>
      {column?.categories && (
        <select
          aria-label={`Class of ${name}`}
          value={wanted ?? ""}
          disabled={!labels}
          onChange={(e) => {
            const value = e.currentTarget.value;
            const of = value === "" ? null : Number(value);
            setWanted(of);
            if (of !== null && labels?.[row] !== of) move(1, row, of);
          }}
        >
          <option value="">any {column.name}</option>
          {column.categories.map((each, k) => (
            <option key={k} value={k}>
              {column.name} {each}
            </option>
          ))}
        </select>
      )}
    </div>
  );
}
