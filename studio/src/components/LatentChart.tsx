/** The posterior of an item, one row per latent. */

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
import "./components.css";

export function LatentChart({ q }: { q: Posterior | null }) {
  const { latents, model, prior } = manifest.value;
  const [all, setAll] = useState(false);
  const ranges = useMemo(axes, []);
  const shapes = useShapes(ranges);
  const standard = prior?.kind === "standard";
  return (
    <>
      <table class="numbers code-chart">
        <caption class="unseen">Code of this item, most active latent first</caption>
        <thead class="unseen">
          <tr>
            <th>latent</th>
            <th>position</th>
            <th>{model.has_std ? "mean and standard deviation" : "value"}</th>
          </tr>
        </thead>
        <tbody>
          {shownLatents(latents.order, "", all).map((j) => (
            <tr key={j}>
              <th scope="row">{nameOf(j)}</th>
              <td class="along">
                <LatentAxis
                  range={ranges[j]}
                  shape={shapes?.[j] ?? (standard ? normalShape(ranges[j]) : null)}
                  mean={q?.mean[j]}
                  std={model.has_std ? q?.std[j] : undefined}
                  band={standard}
                />
              </td>
              <td>
                {q && readout(q.mean[j])}
                {q && model.has_std && <span class="soft"> ± {readout(q.std[j])}</span>}
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

interface LatentAxisProps {
  range: [number, number];
  shape: string | null;
  mean?: number;
  std?: number;
  /** Whether to shade ±2 standard deviations of the prior. */
  band: boolean;
}

function LatentAxis({ range: [low, high], shape, mean, std, band }: LatentAxisProps) {
  const position = (v: number) => ((v - low) / (high - low || 1)) * SHAPE_WIDTH;
  return (
    <svg viewBox={`0 0 ${SHAPE_WIDTH} 1`} preserveAspectRatio="none" aria-hidden="true">
      {band && <rect class="band" x={position(-2)} width={position(2) - position(-2)} y="0" height="1" />}
      {shape && <path class="all" d={shape} />}
      {mean !== undefined && std !== undefined && (
        <rect
          class="spread"
          x={position(mean - 2 * std)}
          width={position(4 * std) - position(0)}
          y=".38"
          height=".24"
        />
      )}
      {mean !== undefined && (
        <line class="mean" x1={position(mean)} x2={position(mean)} y1=".1" y2=".9" />
      )}
    </svg>
  );
}
