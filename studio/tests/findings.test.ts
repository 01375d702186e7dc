import { describe, expect, it } from "vitest";
import { quietLine, shownFindings, toggleLabel } from "../src/findings";
import type { Finding } from "../src/manifest";

const finding = (name: string): Finding => ({ name, severity: "note", verdict: "", evidence: "", remedy: "" });
const [a, b, c] = ["a", "b", "c"].map(finding) as [Finding, Finding, Finding];

describe("findings", () => {
  it("shows the important ones first, and the others on request", () => {
    const findings = { first: [a], others: [b, c] };
    expect(shownFindings(findings, false)).toEqual([a]);
    expect(shownFindings(findings, true)).toEqual([a, b, c]);
    expect(toggleLabel(findings, false)).toBe("Show all 3");
    expect(toggleLabel(findings, true)).toBe("Show fewer");
    expect(quietLine(findings)).toBe("");
  });

  it("has nothing to show on request if there are no others", () => {
    expect(toggleLabel({ first: [a, b, c], others: [] }, false)).toBe("");
  });

  it("is one quiet line if nothing was found", () => {
    const findings = { first: [], others: [] };
    expect(shownFindings(findings, true)).toEqual([]);
    expect(quietLine(findings)).toBe("The checks of this model found nothing to change.");
    expect(toggleLabel(findings, false)).toBe("");
  });

  it("hides notes without settings to try behind the quiet line", () => {
    expect(quietLine({ first: [], others: [a] })).toBe("The checks of this model found no fault, and one note.");
    expect(quietLine({ first: [], others: [a, b] })).toContain("2 notes");
    expect(shownFindings({ first: [], others: [a] }, false)).toEqual([]);
  });
});
