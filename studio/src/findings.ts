/** Which findings of the checks are shown, and a line for those that are not. */

import type { Finding, Findings } from "./manifest";

/** The important findings, or all of them: the worst first. */
export function shownFindings({ first, others }: Findings, all: boolean): Finding[] {
  return all ? [...first, ...others] : first;
}

/** A sentence about a model without important findings; empty if there are any. */
export function quietLine({ first, others }: Findings): string {
  if (first.length) return "";
  if (!others.length) return "The checks of this model found nothing to change.";
  return `The checks of this model found no fault, and ${others.length === 1 ? "one note" : `${others.length} notes`}.`;
}

/** The label of the button that shows the other findings or hides them; empty if there are none. */
export function toggleLabel({ first, others }: Findings, all: boolean): string {
  if (!others.length) return "";
  return all ? "Show fewer" : `Show all ${first.length + others.length}`;
}
