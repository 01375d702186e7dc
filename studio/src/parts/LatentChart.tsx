/** What the model believes of an item, latent by latent. */

import { useMemo, useState } from "preact/hooks";
import type { Posterior } from "../backend";
import { manifest } from "../state";
import {
  axes,
  FEW,
  nameOf,
  normalShape,
  readout,
  SHAPE_WIDTH,
  shownLatents,
  useShapes,
} from "./latents";
import "./parts.css";

export function LatentChart({ q }: { q: Posterior | null }) {
  const { latents, model, prior } = manifest.value;
  const [all, setAll] = useState(false);
  const ranges = useMemo(axes, []);
  const shapes = useShapes(ranges);
  const standard = prior?.kind === "standard";
  return (
    <>
      <table class="numbers code-chart">
        <caption class="unseen">The code of this item, from the most active latent to the least</caption>
        <thead class="unseen">
          <tr>
            <th>latent</th>
            <th>place</th>
            <th>{model.spread ? "mean and standard deviation" : "value"}</th>
          </tr>
        </thead>
        <tbody>
          {shownLatents(latents.order, "", all).map((j) => (
            <tr key={j}>
              <th scope="row">{nameOf(j)}</th>
              <td class="along">
                <Along
                  range={ranges[j]}
                  shape={shapes?.[j] ?? (standard ? normalShape(ranges[j]) : null)}
                  mean={q?.mean[j]}
                  std={model.spread ? q?.std[j] : undefined}
                  band={standard}
                />
              </td>
              <td>
                {q && readout(q.mean[j])}
                {q && model.spread && <span class="soft"> ± {readout(q.std[j])}</span>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {latents.order.length > FEW && (
        <button onClick={() => setAll(!all)}>
          {all ? `Show the ${FEW} most active` : `Show all ${latents.order.length}`}
        </button>
      )}
    </>
  );
}

interface Along {
  range: [number, number];
  shape: string | null;
  mean?: number;
  std?: number;
  /** Whether the prior's two standard deviations are shaded. */
  band: boolean;
}

function Along({ range: [low, high], shape, mean, std, band }: Along) {
  const place = (v: number) => ((v - low) / (high - low || 1)) * SHAPE_WIDTH;
  return (
    <svg viewBox={`0 0 ${SHAPE_WIDTH} 1`} preserveAspectRatio="none" aria-hidden="true">
      {band && <rect class="band" x={place(-2)} width={place(2) - place(-2)} y="0" height="1" />}
      {shape && <path class="all" d={shape} />}
      {mean !== undefined && std !== undefined && (
        <rect
          class="spread"
          x={place(mean - 2 * std)}
          width={place(4 * std) - place(0)}
          y=".38"
          height=".24"
        />
      )}
      {mean !== undefined && (
        <line class="mean" x1={place(mean)} x2={place(mean)} y1=".1" y2=".9" />
      )}
    </svg>
  );
}
