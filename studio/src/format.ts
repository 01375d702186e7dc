/** Formatting of numbers and values. */

import type { Feature } from "./manifest";

/** Format a number with about three significant digits and a true minus sign. */
export function formatNumber(value: number, digits = 3): string {
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

export function formatCount(value: number): string {
  return value.toLocaleString("en");
}

export function formatPercent(share: number): string {
  return `${formatNumber(100 * share)}%`;
}

/** Format a value of a table column: its category or number; "…" while it loads. */
export function formatCell(feature: Feature, value: number | undefined): string {
  if (value === undefined) return "…";
  if (Number.isNaN(value)) return "missing";
  if (feature.categories) return feature.categories[Math.round(value)] ?? "?";
  return formatNumber(feature.whole ? Math.round(value) : value, 4);
}

/** Format rows as CSV. */
export function csv(header: string[], rows: (string | number)[][]): string {
  const line = (cells: (string | number)[]) => cells.map(quoted).join(",");
  return [header, ...rows].map(line).join("\r\n") + "\r\n";
}

function quoted(value: string | number): string {
  if (typeof value === "number") return String(value);
  // Spreadsheets execute texts that look like formulas; numbers such as the class -1 are safe.
  const safe = /^[=+\-@\t\r]/.test(value) && Number.isNaN(Number(value)) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Save a text as a file. */
export function download(name: string, text: string, type = "text/csv"): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // some browsers read the URL asynchronously
}
