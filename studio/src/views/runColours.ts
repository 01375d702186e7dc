/** The colours of runs; a single run uses the accent colour. */

import { classColour, lighter } from "../colours";
import type { Run } from "../manifest";
import { cssColour, isDark } from "../theme";

/** The order of class colours with the best contrast for few runs; greys come last. */
const ORDER = [0, 6, 4, 2, 1, 5, 9, 7, 8, 3];

export function colourOf(runs: Run[], run: Run): string {
  if (runs.length < 2) return cssColour("--accent");
  const k = Math.max(0, runs.findIndex((each) => each.name === run.name));
  const colour = classColour(ORDER[k % ORDER.length]);
  return isDark() ? lighter(colour, 0.3) : colour;
}
