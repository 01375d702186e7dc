/** The plane of rate and distortion: how runs bargain between codes and likeness. */

import { useRef, useState } from "preact/hooks";
import { bestEpoch, type Point, rateDistortion } from "../curves";
import type { Run } from "../manifest";
import { extent } from "../parts/counts";
import { useWidth } from "../scheme";
import { count, number } from "../words";
import { colourOf } from "./runColours";
import { type Span, ticks } from "./ticks";

const HEIGHT = 340;
const EDGE = { left: 52, right: 14, top: 14, bottom: 40 };
const START = 0.1; // share of the epochs, the first, that would push the rest into a corner

interface Way {
  run: Run;
  points: Point[];
  colour: string;
}

export function RateDistortion({ runs }: { runs: Run[] }) {
  const [whole, setWhole] = useState(false);
  const ways = runs
    .map((run) => ({ run, points: rateDistortion(run), colour: colourOf(runs, run) }))
    .filter((way) => way.points.length > 0);
  return (
    <section class="card" aria-label="Rate and distortion">
      <div class="bar">
        <h3>Rate and distortion</h3>
        {ways.length > 0 && (
          <label class="push">
            <input type="checkbox" checked={whole} onChange={(e) => setWhole(e.currentTarget.checked)} />{" "}
            from the first epoch
          </label>
        )}
      </div>
      {ways.length ? (
        <>
          <p class="soft">
            A model pays in rate (KL: how much its codes tell) to buy a lower distortion (how much they
            leave out); their sum is −ELBO, the same along each faint line, so down and left is better.
          </p>
          <Plane ways={ways} whole={whole} />
          <Ends ways={ways} />
        </>
      ) : (
        <p class="soft">
          {runs.some((run) => run.training && !run.history.length)
            ? "The way begins with the first epoch."
            : "There is none to draw: these codes have no KL, so nothing limits what they may tell."}
        </p>
      )}
    </section>
  );
}

function Plane({ ways, whole }: { ways: Way[]; whole: boolean }) {
  const place = useRef<HTMLDivElement>(null);
  const width = useWidth(place);
  const [near, setNear] = useState<{ way: Way; point: Point } | null>(null);
  const inView = ways.flatMap(({ points }) => points.slice(whole ? 0 : Math.floor(START * points.length)));
  const across = spanOf(inView.map((p) => p.rate));
  const up = spanOf(inView.map((p) => p.distortion));
  const right = Math.max(EDGE.left + 50, width - EDGE.right);
  const share = (v: number, { low, high }: Span) => (v - low) / (high - low);
  const x = (v: number) => EDGE.left + share(v, across) * (right - EDGE.left);
  const bottom = HEIGHT - EDGE.bottom;
  const y = (v: number) => bottom - share(v, up) * (bottom - EDGE.top);
  const seek = (e: PointerEvent) => {
    const box = (e.currentTarget as Element).getBoundingClientRect();
    setNear(nearestPoint(ways, x, y, e.clientX - box.left, e.clientY - box.top));
  };
  return (
    <div ref={place} class="plane">
      {width > 0 && (
        <svg
          width={width}
          height={HEIGHT}
          role="img"
          aria-label={summary(ways)}
          onPointerMove={seek}
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
            {ways.map(({ run, points, colour }) => (
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
          {ways.map((way) => (
            <Marks key={way.run.name} way={way} x={x} y={y} right={right} named={ways.length > 1} />
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
      <p class="soft way-readout">
        {near
          ? reading(near.way, near.point)
          : "Point at a way to read it. Disc: last epoch; ring: best epoch."}
      </p>
    </div>
  );
}

function reading({ run }: Way, { epoch, rate, distortion }: Point): string {
  const parts = `rate ${number(rate)}, distortion ${number(distortion)}`;
  return `${run.name}, epoch ${count(epoch)}: ${parts}, sum ${number(rate + distortion, 4)} nats`;
}

type Place = (v: number) => number;

function Axes(props: { across: Span; up: Span; x: Place; y: Place; right: number; bottom: number }) {
  const { across, up, x, y, right, bottom } = props;
  const middle = (EDGE.top + bottom) / 2;
  return (
    <g class="axes">
      {ticks(across, (right - EDGE.left) / 70).map((v) => (
        <text key={v} x={x(v)} y={bottom + 16} text-anchor="middle">
          {number(v, 4)}
        </text>
      ))}
      {ticks(up, 6).map((v) => (
        <text key={v} x={EDGE.left - 7} y={y(v) + 4} text-anchor="end">
          {number(v, 4)}
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

/** The line on which rate and distortion add up to a number, and that number at its upper end. */
function EqualSum(props: { sum: number; across: Span; up: Span; x: Place; y: Place }) {
  const { sum, across, up, x, y } = props;
  const top = sum - across.low > up.high; // the line leaves through the top of the picture
  const [rate, distortion] = top ? [sum - up.high, up.high] : [across.low, sum - across.low];
  return (
    <g class="equal">
      <line x1={x(across.low)} y1={y(sum - across.low)} x2={x(across.high)} y2={y(sum - across.high)} />
      <text x={x(rate) + 5} y={y(distortion) + (top ? 13 : 4)}>
        {number(sum, 4)}
      </text>
    </g>
  );
}

function Marks(props: { way: Way; x: Place; y: Place; right: number; named: boolean }) {
  const { way, x, y, right, named } = props;
  const last = way.points[way.points.length - 1];
  const best = way.points.find((p) => p.epoch === bestEpoch(way.run));
  const [cx, cy] = [x(last.rate), y(last.distortion)];
  const left = cx > right - 110; // the name would run out of the picture
  return (
    <g>
      {best && (
        <circle
          cx={x(best.rate)}
          cy={y(best.distortion)}
          r="5.5"
          fill="var(--card)"
          stroke={way.colour}
          stroke-width="2"
        />
      )}
      <circle cx={cx} cy={cy} r="4.5" fill={way.colour} stroke="var(--card)" />
      {named && (
        <text class="name" x={cx + (left ? -9 : 9)} y={cy - 7} text-anchor={left ? "end" : "start"}>
          {way.run.name}
        </text>
      )}
    </g>
  );
}

/** The last points as numbers. */
function Ends({ ways }: { ways: Way[] }) {
  return (
    <details>
      <summary>Where each run ended</summary>
      <div class="scroll">
        <table class="numbers">
          <thead>
            <tr>
              <th scope="col">run</th>
              <th scope="col">epoch</th>
              <th scope="col">rate</th>
              <th scope="col">distortion</th>
              <th scope="col">sum, −ELBO</th>
            </tr>
          </thead>
          <tbody>
            {ways.map(({ run, points }) => {
              const last = points[points.length - 1];
              return (
                <tr key={run.name}>
                  <th scope="row">{run.name}</th>
                  <td>{count(last.epoch)}</td>
                  <td>{number(last.rate, 4)}</td>
                  <td>{number(last.distortion, 4)}</td>
                  <td>{number(last.rate + last.distortion, 4)}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function summary(ways: Way[]): string {
  const each = ways.map(({ run, points }) => {
    const { rate, distortion } = points[points.length - 1];
    return `${run.name}: rate ${number(rate)}, distortion ${number(distortion)}`;
  });
  return `Rate against distortion over the epochs. At the last epoch, in nats: ${each.join("; ")}.`;
}

const REACH = 40; // pixels from the pointer within which a point is meant

function nearestPoint(ways: Way[], x: Place, y: Place, left: number, top: number) {
  let found: { way: Way; point: Point } | null = null;
  let least = REACH;
  for (const way of ways)
    for (const point of way.points) {
      const distance = Math.hypot(x(point.rate) - left, y(point.distortion) - top);
      if (distance < least) [least, found] = [distance, { way, point }];
    }
  return found;
}

/** The span of numbers with a little room about them. */
function spanOf(values: number[]): Span {
  const [low, high] = extent(values);
  const room = 0.08 * (high - low) || 0.5;
  return { low: low - room, high: high + room };
}
