/** The rate-distortion plane of runs. */

import { useRef, useState } from "preact/hooks";
import { bestEpoch, type Point, rateDistortion } from "../curves";
import type { Run } from "../manifest";
import { extent } from "../components/statistics";
import { useWidth } from "../theme";
import { formatCount, formatNumber } from "../format";
import { colourOf } from "./runColours";
import { type Span, ticks } from "./ticks";

const HEIGHT = 340;
const EDGE = { left: 52, right: 14, top: 14, bottom: 40 };
const START = 0.1; // fraction of initial epochs omitted, whose values would dominate the range

interface Trajectory {
  run: Run;
  points: Point[];
  colour: string;
}

export function RateDistortion({ runs }: { runs: Run[] }) {
  const [whole, setWhole] = useState(false);
  const trajectories = runs
    .map((run) => ({ run, points: rateDistortion(run), colour: colourOf(runs, run) }))
    .filter((trajectory) => trajectory.points.length > 0);
  return (
    <section class="card" aria-label="Rate-distortion plane">
      <div class="bar">
        <h3>Rate-distortion plane</h3>
        {trajectories.length > 0 && (
          <label class="push">
            <input type="checkbox" checked={whole} onChange={(e) => setWhole(e.currentTarget.checked)} />{" "}
            include the first epochs
          </label>
        )}
      </div>
      {trajectories.length ? (
        <>
          <p class="soft">
            Rate is the KL divergence, the information in the codes; distortion is the reconstruction error.
            Their sum is −ELBO, constant along each faint line, so lower left is better.
          </p>
          <Plane trajectories={trajectories} whole={whole} />
          <LastValues trajectories={trajectories} />
        </>
      ) : (
        <p class="soft">
          {runs.some((run) => run.training && !run.history.length)
            ? "The curve starts after the first epoch."
            : "Not available: this model has no KL term."}
        </p>
      )}
    </section>
  );
}

function Plane({ trajectories, whole }: { trajectories: Trajectory[]; whole: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const width = useWidth(place);
  const [near, setNear] = useState<{ trajectory: Trajectory; point: Point } | null>(null);
  const visible = trajectories.flatMap(({ points }) => points.slice(whole ? 0 : Math.floor(START * points.length)));
  const across = spanOf(visible.map((p) => p.rate));
  const up = spanOf(visible.map((p) => p.distortion));
  const right = Math.max(EDGE.left + 50, width - EDGE.right);
  const share = (v: number, { low, high }: Span) => (v - low) / (high - low);
  const x = (v: number) => EDGE.left + share(v, across) * (right - EDGE.left);
  const bottom = HEIGHT - EDGE.bottom;
  const y = (v: number) => bottom - share(v, up) * (bottom - EDGE.top);
  const hover = (e: PointerEvent) => {
    const box = (e.currentTarget as Element).getBoundingClientRect();
    setNear(nearestPoint(trajectories, x, y, e.clientX - box.left, e.clientY - box.top));
  };
  return (
    <div ref={place} class="plane">
      {width > 0 && (
        <svg
          width={width}
          height={HEIGHT}
          role="img"
          aria-label={summary(trajectories)}
          onPointerMove={hover}
          onPointerLeave={() => setNear(null)}
        >
          <clipPath id="inside-plane">
            <rect x={EDGE.left} y={EDGE.top} width={right - EDGE.left} height={bottom - EDGE.top} />
          </clipPath>
          <Axes across={across} up={up} x={x} y={y} right={right} bottom={bottom} />
          <g clip-path="url(#inside-plane)">
            {ticks({ low: across.low + up.low, high: across.high + up.high }, 9).map((sum) => (
              <EqualSum key={sum} sum={sum} across={across} up={up} x={x} y={y} />
            ))}
            {trajectories.map(({ run, points, colour }) => (
              <polyline
                key={run.name}
                points={points.map((p) => `${x(p.rate)},${y(p.distortion)}`).join(" ")}
                fill="none"
                stroke={colour}
                stroke-width="1.4"
                stroke-linejoin="round"
                opacity="0.55"
              />
            ))}
          </g>
          {trajectories.map((trajectory) => (
            <Marks key={trajectory.run.name} trajectory={trajectory} x={x} y={y} right={right} named={trajectories.length > 1} />
          ))}
          {near && (
            <circle
              cx={x(near.point.rate)}
              cy={y(near.point.distortion)}
              r="5"
              fill="none"
              stroke="var(--ink)"
            />
          )}
        </svg>
      )}
      <p class="soft readout">
        {near
          ? reading(near.trajectory, near.point)
          : "Point at a curve to read its values. Disc: last epoch; ring: best epoch."}
      </p>
    </div>
  );
}

function reading({ run }: Trajectory, { epoch, rate, distortion }: Point): string {
  const parts = `rate ${formatNumber(rate)}, distortion ${formatNumber(distortion)}`;
  return `${run.name}, epoch ${formatCount(epoch)}: ${parts}, sum ${formatNumber(rate + distortion, 4)} nats`;
}

type Place = (v: number) => number;

function Axes(props: { across: Span; up: Span; x: Place; y: Place; right: number; bottom: number }) {
  const { across, up, x, y, right, bottom } = props;
  const middle = (EDGE.top + bottom) / 2;
  return (
    <g class="axes">
      {ticks(across, (right - EDGE.left) / 70).map((v) => (
        <text key={v} x={x(v)} y={bottom + 16} text-anchor="middle">
          {formatNumber(v, 4)}
        </text>
      ))}
      {ticks(up, 6).map((v) => (
        <text key={v} x={EDGE.left - 7} y={y(v) + 4} text-anchor="end">
          {formatNumber(v, 4)}
        </text>
      ))}
      <path d={`M${EDGE.left},${EDGE.top}V${bottom}H${right}`} />
      <text x={(EDGE.left + right) / 2} y={HEIGHT - 5} text-anchor="middle">
        rate: KL, nats per example
      </text>
      <text transform={`translate(11 ${middle}) rotate(-90)`} text-anchor="middle">
        distortion, nats per example
      </text>
    </g>
  );
}

/** A line of constant sum of rate and distortion, labelled with the sum at its upper end. */
function EqualSum(props: { sum: number; across: Span; up: Span; x: Place; y: Place }) {
  const { sum, across, up, x, y } = props;
  const top = sum - across.low > up.high; // the line leaves the plot at the top
  const [rate, distortion] = top ? [sum - up.high, up.high] : [across.low, sum - across.low];
  return (
    <g class="equal">
      <line x1={x(across.low)} y1={y(sum - across.low)} x2={x(across.high)} y2={y(sum - across.high)} />
      <text x={x(rate) + 5} y={y(distortion) + (top ? 13 : 4)}>
        {formatNumber(sum, 4)}
      </text>
    </g>
  );
}

function Marks(props: { trajectory: Trajectory; x: Place; y: Place; right: number; named: boolean }) {
  const { trajectory, x, y, right, named } = props;
  const last = trajectory.points[trajectory.points.length - 1];
  const best = trajectory.points.find((p) => p.epoch === bestEpoch(trajectory.run));
  const [cx, cy] = [x(last.rate), y(last.distortion)];
  const left = cx > right - 110; // the name would not fit on the right
  return (
    <g>
      {best && (
        <circle
          cx={x(best.rate)}
          cy={y(best.distortion)}
          r="5.5"
          fill="var(--card)"
          stroke={trajectory.colour}
          stroke-width="2"
        />
      )}
      <circle cx={cx} cy={cy} r="4.5" fill={trajectory.colour} stroke="var(--card)" />
      {named && (
        <text class="name" x={cx + (left ? -9 : 9)} y={cy - 7} text-anchor={left ? "end" : "start"}>
          {trajectory.run.name}
        </text>
      )}
    </g>
  );
}

/** The values at the last epoch. */
function LastValues({ trajectories }: { trajectories: Trajectory[] }) {
  return (
    <details>
      <summary>Values at the last epoch</summary>
      <div class="scroll">
        <table class="numbers">
          <thead>
            <tr>
              <th scope="col">run</th>
              <th scope="col">epoch</th>
              <th scope="col">rate</th>
              <th scope="col">distortion</th>
              <th scope="col">sum (−ELBO)</th>
            </tr>
          </thead>
          <tbody>
            {trajectories.map(({ run, points }) => {
              const last = points[points.length - 1];
              return (
                <tr key={run.name}>
                  <th scope="row">{run.name}</th>
                  <td>{formatCount(last.epoch)}</td>
                  <td>{formatNumber(last.rate, 4)}</td>
                  <td>{formatNumber(last.distortion, 4)}</td>
                  <td>{formatNumber(last.rate + last.distortion, 4)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function summary(trajectories: Trajectory[]): string {
  const each = trajectories.map(({ run, points }) => {
    const { rate, distortion } = points[points.length - 1];
    return `${run.name}: rate ${formatNumber(rate)}, distortion ${formatNumber(distortion)}`;
  });
  return `Rate against distortion over the epochs. At the last epoch, in nats: ${each.join("; ")}.`;
}

const REACH = 40; // maximum distance from the pointer in pixels

function nearestPoint(trajectories: Trajectory[], x: Place, y: Place, left: number, top: number) {
  let found: { trajectory: Trajectory; point: Point } | null = null;
  let least = REACH;
  for (const trajectory of trajectories)
    for (const point of trajectory.points) {
      const distance = Math.hypot(x(point.rate) - left, y(point.distortion) - top);
      if (distance < least) [least, found] = [distance, { trajectory, point }];
    }
  return found;
}

/** The range of values with a small margin. */
function spanOf(values: number[]): Span {
  const [low, high] = extent(values);
  const room = 0.08 * (high - low) || 0.5;
  return { low: low - room, high: high + room };
}
