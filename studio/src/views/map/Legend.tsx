/** What the colours mean. */

import { hex, viridis } from "../../colours";
import { count, number } from "../../words";
import { alone } from "./looking";
import { NONE, type ClassLegend, type NumberLegend, type Shades } from "./shades";

export function Legend({ shades, name, unit }: { shades: Shades; name: string; unit: string }) {
  const { legend } = shades;
  if (!legend) return null;
  return legend.kind === "classes" ? (
    <Classes legend={legend} palette={shades.palette} name={name} />
  ) : (
    <Bar legend={legend} name={name} unit={unit} />
  );
}

function Classes({ legend, palette, name }: { legend: ClassLegend; palette: string[]; name: string }) {
  return (
    <div class="legend" role="group" aria-label={`Classes of ${name}: press one to see it alone`}>
      <div class="classes">
        {legend.names.map((each, k) => (
          <button
            key={k}
            aria-pressed={alone.value === k}
            onClick={() => (alone.value = alone.value === k ? null : k)}
          >
            <span class="dot" style={{ background: palette[k] }} />
            {each} <small>{count(legend.counts[k])}</small>
          </button>
        ))}
      </div>
      <p class="soft">
        {legend.shared
          ? `${count(legend.names.length)} classes share ten colours: press one to see its points alone.`
          : "Press a class to see it alone."}
      </p>
    </div>
  );
}

const STOPS = Array.from({ length: 9 }, (_, k) => hex(viridis(k / 8))).join(", ");
const RAMP = `linear-gradient(90deg, ${STOPS})`;

function Bar({ legend, name, unit }: { legend: NumberLegend; name: string; unit: string }) {
  const { low, high, beyond, missing } = legend;
  return (
    <div class="legend ramp">
      <span>{beyond[0] ? "≤ " : ""}{number(low)}</span>
      <span class="scale" role="img" aria-label={`${name}, dark to bright`} style={{ background: RAMP }} />
      <span>{beyond[1] ? "≥ " : ""}{number(high)}{unit && ` ${unit}`}</span>
      {missing > 0 && (
        <span class="soft">
          <span class="dot" style={{ background: NONE }} /> {count(missing)} missing
        </span>
      )}
    </div>
  );
}
