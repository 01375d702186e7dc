/** Numbers and values as people read them. */

import type { Feature } from "./manifest";

/** A number with three significant digits or so, and a true minus sign. */
export function number(value: number, digits = 3): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size === 0) return "0";
  const text =
    size < 1e-3 || size >= 1e6
      ? value.toExponential(digits - 1)
      : value.toLocaleString("en", {
          maximumSignificantDigits: Math.max(digits, Math.ceil(Math.log10(size + 1))),
          useGrouping: size >= 1e4, // four digits may be a year
        });
  return text.replaceAll("-", "−");
}

export function count(value: number): string {
  return value.toLocaleString("en");
}

export function percent(share: number): string {
  return `${number(100 * share)}%`;
}

/** A value of a table's column: its category, or the number; "…" while it is on its way. */
export function cell(feature: Feature, value: number | undefined): string {
  if (value === undefined) return "…";
  if (Number.isNaN(value)) return "missing";
  if (feature.categories) return feature.categories[Math.round(value)] ?? "?";
  return number(feature.whole ? Math.round(value) : value, 4);
}

/** A file of comma-separated values; texts with commas, quotes or line ends are quoted. */
export function csv(header: string[], rows: (string | number)[][]): string {
  const line = (cells: (string | number)[]) => cells.map(quoted).join(",");
  return [header, ...rows].map(line).join("\r\n") + "\r\n";
}

function quoted(value: string | number): string {
  if (typeof value === "number") return String(value);
  // A spreadsheet would run what begins like a formula, and is no number such as the class -1.
  const safe = /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Let the browser save a text as a file. */
export function download(name: string, text: string, type = "text/csv"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // some browsers read it only later
}
