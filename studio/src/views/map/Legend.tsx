/** The colour legend. */

import { hex, viridis } from "../../colours";
import { formatCount, formatNumber } from "../../format";
import { highlighted } from "./focus";
import { NONE, type ClassLegend, type NumberLegend, type PointColours } from "./pointColours";

export function Legend({ colours, name, unit }: { colours: PointColours; name: string; unit: string }) {
  const { legend } = colours;
  if (!legend) return null;
  return legend.kind === "classes" ? (
    <Classes legend={legend} palette={colours.palette} name={name} />
  ) : (
    <Bar legend={legend} name={name} unit={unit} />
  );
}

function Classes({ legend, palette, name }: { legend: ClassLegend; palette: string[]; name: string }) {
  return (
    <div class="legend" role="group" aria-label={`Classes of ${name}: press a class to highlight it`}>
      <div class="classes">
        {legend.names.map((each, k) => (
          <button
            key={k}
            aria-pressed={highlighted.value === k}
            onClick={() => (highlighted.value = highlighted.value === k ? null : k)}
          >
            <span class="dot" style={{ background: palette[k] }} />
            {each} <small>{formatCount(legend.counts[k])}</small>
          </button>
        ))}
      </div>
      <p class="soft">
        {legend.shared
          ? `${formatCount(legend.names.length)} classes share ten colours. Press a class to highlight its points.`
          : "Press a class to highlight its points."}
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
      <span>{beyond[0] ? "≤ " : ""}{formatNumber(low)}</span>
      <span class="scale" role="img" aria-label={`${name}, dark to bright`} style={{ background: RAMP }} />
      <span>{beyond[1] ? "≥ " : ""}{formatNumber(high)}{unit && ` ${unit}`}</span>
      {missing > 0 && (
        <span class="soft">
          <span class="dot" style={{ background: NONE }} /> {formatCount(missing)} missing
        </span>
      )}
    </div>
  );
}
