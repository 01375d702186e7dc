/** Colour scales for classes and numbers. */

/** Ten colours that remain distinct with colour-vision deficiency (Petroff, 2021). */
export const CLASSES = [
  "#3f90da",
  "#ffa90e",
  "#bd1f01",
  "#94a4a2",
  "#832db6",
  "#a96b59",
  "#e76300",
  "#b9ac70",
  "#717581",
  "#92dadd",
];

/** Stops of viridis (Smith and van der Walt, 2015), perceptually uniform. */
const VIRIDIS = ["#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"];
/** Blue to white to red, for signed differences. */
const SIGNED = ["#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b"];
/** Stops of inferno (Smith and van der Walt, 2015): black to yellow, for heatmaps. */
const HEAT = ["#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4"];

export type Scale = (share: number) => [number, number, number];

const rgb = (hex: string): [number, number, number] => [
  parseInt(hex.slice(1, 3), 16),
  parseInt(hex.slice(3, 5), 16),
  parseInt(hex.slice(5, 7), 16),
];

function scale(stops: string[]): Scale {
  const colours = stops.map(rgb);
  return (share) => {
    const place = Math.min(1, Math.max(0, share || 0)) * (colours.length - 1);
    const k = Math.min(Math.floor(place), colours.length - 2);
    const t = place - k;
    return [0, 1, 2].map((c) => colours[k][c] + t * (colours[k + 1][c] - colours[k][c])) as [
      number,
      number,
      number,
    ];
  };
}

export const viridis = scale(VIRIDIS);
export const signed = scale(SIGNED);
export const heat = scale(HEAT);

export function hex([r, g, b]: [number, number, number]): string {
  return `#${[r, g, b].map((v) => Math.round(v).toString(16).padStart(2, "0")).join("")}`;
}

/** The colour of a class; colours repeat after ten. */
export function classColour(k: number): string {
  return CLASSES[k % CLASSES.length];
}

/** Mix a colour with white, for contrast on a dark page. */
export function lighter(colour: string, share: number): string {
  const [r, g, b] = rgb(colour).map((v) => v + share * (255 - v));
  return hex([r, g, b]);
}
