/** What the checks of the model found, with the evidence and what to change. */

import { useState } from "preact/hooks";
import { quietLine, shownFindings, toggleLabel } from "../findings";
import type { Finding, Findings } from "../manifest";

export function FindingList({ findings }: { findings: Findings }) {
  const [all, setAll] = useState(false);
  const shown = shownFindings(findings, all);
  const quiet = quietLine(findings);
  const label = toggleLabel(findings, all);
  return (
    <section class={shown.length ? "findings card" : "findings"} aria-label="Findings">
      {(quiet || label) && (
        <p class="soft">
          {quiet || "The checks of this model found:"}{" "}
          {label && (
            <button class="plain" aria-expanded={all} onClick={() => setAll(!all)}>
              {label}
            </button>
          )}
        </p>
      )}
      {shown.length > 0 && (
        <ul>
          {shown.map((each) => (
            <Item key={each.name} finding={each} />
          ))}
        </ul>
      )}
    </section>
  );
}

function Item({ finding }: { finding: Finding }) {
  const { name, severity, verdict, evidence, remedy } = finding;
  return (
    <li>
      <span class={`severity ${SEVERITY[severity]}`}>{severity}</span>
      <div>
        <p>
          <strong>{name}</strong> {verdict}
        </p>
        {remedy && <p>{remedy}</p>}
        <p class="soft">{evidence}</p>
      </div>
    </li>
  );
}

/** Classes of the styles. */
const SEVERITY = { failure: "failed", warning: "warned", note: "noted" };
