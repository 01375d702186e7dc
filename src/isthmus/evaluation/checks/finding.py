"""What a check found: a verdict with its evidence and its remedy, and a table of all of them."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, get_args, overload

from numpy.typing import NDArray
from scipy.stats import norm

from isthmus._messages import one_line
from isthmus._optional import import_optional

__all__ = [
    "SEVERITIES",
    "Evidence",
    "Finding",
    "Findings",
    "NotMade",
    "Remedy",
    "Severity",
    "Trial",
    "error_of_mean",
    "percent",
]

Severity = Literal["failure", "warning", "note", "ok"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)  # the worst first
WIDTH = 100  # of the printed table
SMALLEST_P = 1e-10  # smaller p-values are printed as smaller than this
IMPORTANT = 3  # findings in a summary, at most


@dataclass(frozen=True)
class Evidence:
    """A number, the threshold that it must not cross, and how certain it is.

    Parameters
    ----------
    quantity : str
        What was measured.
    value, threshold : float
    unit : str
    standard_error : float, optional
        Of the value, if it is a mean over rows.
    p_value : float, optional
        Probability of such a value if the threshold is not crossed; by default that of a normal
        distribution with the standard error. In findings it is corrected for the number of tests.
    rows : int, optional
        Number of rows measured.
    worse : {"above", "below"}
        The side of the threshold on which something is wrong.

    Examples
    --------
    >>> Evidence("gap", 3.0, threshold=1.0, standard_error=1.0).probability
    0.0227...
    >>> print(Evidence("gap", 3.0, threshold=1.0, unit="nats", standard_error=1.0, rows=50))
    gap: 3 ± 1 nats, threshold 1, 50 rows
    """

    quantity: str
    value: float
    threshold: float
    unit: str = ""
    standard_error: float | None = None
    p_value: float | None = None
    rows: int | None = None
    worse: Literal["above", "below"] = "above"

    @classmethod
    def of_mean(
        cls,
        quantity: str,
        values: NDArray[Any],
        threshold: float,
        unit: str = "",
        worse: Literal["above", "below"] = "above",
    ) -> Evidence:
        """Return the mean of a value of each row, (n,), with its standard error."""
        mean, error = float(values.mean()), error_of_mean(values)
        return cls(quantity, mean, threshold, unit, error, rows=len(values), worse=worse)

    @property
    def crossed(self) -> bool:
        """Whether the value is on the wrong side of the threshold."""
        return self._excess > 0

    @property
    def probability(self) -> float | None:
        """The p-value; None if the value has no sampling error."""
        if self.p_value is not None or self.standard_error is None:
            return self.p_value
        if self.standard_error == 0:
            return 0.0 if self.crossed else 1.0
        return float(norm.sf(self._excess / self.standard_error))

    @property
    def _excess(self) -> float:
        excess = self.value - self.threshold
        return excess if self.worse == "above" else -excess

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        unit = f" {self.unit}" if self.unit else ""
        parts = [
            f"{self.quantity}: {_number(self.value)}{error}{unit}",
            f"threshold {_number(self.threshold)}",
            "" if self.p_value is None else _p_text(self.p_value),
            "" if self.rows is None else f"{self.rows:,} rows",
        ]
        return ", ".join(filter(None, parts))


def _number(value: float) -> str:
    """Return a number with three digits, a large one in full."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"


def _p_text(p: float) -> str:
    return f"p = {p:.2g}" if p > SMALLEST_P else f"p < {SMALLEST_P:g}"


def percent(share: float) -> str:
    """Return a share in percent, without the sign of a zero.

    Examples
    --------
    >>> percent(-0.002), percent(0.123)
    ('0%', '12%')
    """
    return f"{round(share, 2) + 0.0:.0%}"


def error_of_mean(values: NDArray[Any]) -> float:
    """Return the standard error of the mean of values (n,); infinite for one value."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else math.inf


class Trial(NamedTuple):
    """Settings that were tried on some rows, and by how much they helped.

    They helped if test rows gained, or if the finding is gone and test rows are not worse.

    Parameters
    ----------
    settings : mapping
    gain, standard_error : float
        Mean gain of test rows over a model with the present settings, fitted to the same rows.
    unit : str
    helped : bool
    value_before, value_after : float or None
        The evidence of the finding with the present settings, and with these.
    rows : int
        Number of rows that the models were fitted to.
    error : str
        Why the settings could not be tried; otherwise empty.

    Examples
    --------
    >>> print(Trial({"beta": 1.0}, 2.0, 0.1, "nats", True, 0.0, 4.0, 360))
    beta=1.0 helped (from 0 to 4; +2 ± 0.1 nats)
    >>> print(Trial({"beta": 1.0}, error="out of memory"))
    beta=1.0 could not be tried (out of memory)
    """

    settings: Mapping[str, Any]
    gain: float = math.nan
    standard_error: float = math.nan
    unit: str = ""
    helped: bool = False
    value_before: float | None = None
    value_after: float | None = None
    rows: int = 0
    error: str = ""

    def __str__(self) -> str:
        name = settings_text(self.settings)
        if self.error:
            return f"{name} could not be tried ({self.error})"
        change = f"{self.gain:+.3g} ± {self.standard_error:.2g} {self.unit}"
        if self.value_before is not None and self.value_after is not None:
            values = f"from {_number(self.value_before)} to {_number(self.value_after)}"
            change = f"{values}; {change}"
        return f"{name} {'helped' if self.helped else 'did not help'} ({change})"


@dataclass(frozen=True)
class Remedy:
    """What to change: settings of the model, the most likely to help first, or a sentence.

    Parameters
    ----------
    *settings : mapping of str to Any
        Alternatives, each a set of settings to change together.
    advice : str
        What else helps, as a full sentence.
    trials : sequence of Trial
        What came of trying them; see `isthmus.evaluation.check`.

    Examples
    --------
    >>> print(Remedy({"likelihood": "gaussian"}, {"epochs": 40, "patience": None}))
    Try likelihood='gaussian', or epochs=40 with patience=None.
    """

    options: tuple[Mapping[str, Any], ...]
    advice: str
    trials: tuple[Trial, ...]

    def __init__(
        self, *settings: Mapping[str, Any], advice: str = "", trials: Sequence[Trial] = ()
    ) -> None:
        object.__setattr__(self, "options", settings)
        object.__setattr__(self, "advice", advice)
        object.__setattr__(self, "trials", tuple(trials))

    def with_trials(self, trials: Sequence[Trial]) -> Remedy:
        """Return the same remedy with what came of trying it."""
        return Remedy(*self.options, advice=self.advice, trials=trials)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings that are most likely to help."""
        return self.options[0] if self.options else {}

    def __str__(self) -> str:
        options = ", or ".join(map(settings_text, self.options))
        tried = "; ".join(map(str, self.trials))
        parts = [
            f"Try {options}." if options else "",
            self.advice,
            f"{self._tried_on}: {tried}." if tried else "",
        ]
        return " ".join(filter(None, parts))

    @property
    def _tried_on(self) -> str:
        rows = max(each.rows for each in self.trials)
        return f"Tried on {rows:,} training rows" if rows else "Tried"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings in words, as one writes them in Python.

    Examples
    --------
    >>> settings_text({"epochs": 40, "patience": None}), settings_text({"epochs": None})
    ('epochs=40 with patience=None', 'epochs=None (the default)')
    """
    text = " with ".join(f"{name}={value!r}" for name, value in settings.items())
    if not settings or any(value is not None for value in settings.values()):
        return text
    return f"{text} (the default{'s'[: len(settings) > 1]})"


@dataclass(frozen=True)
class Finding:
    """The verdict of one check on a fitted model.

    Parameters
    ----------
    name : str
        What was checked, such as "collapsed units".
    severity : {"ok", "note", "warning", "failure"}
    verdict : str
        One sentence.
    evidence : Evidence
    remedy : Remedy
        Empty if the severity is "ok".

    Examples
    --------
    >>> evidence = Evidence("components in use", 1, threshold=4, worse="below")
    >>> finding = Finding("collapsed units", "warning", "1 of 8 components carries information.",
    ...                   evidence, Remedy({"beta": 1.0}))
    >>> print(finding)
    warning: 1 of 8 components carries information. Try beta=1.0.
    >>> finding.to_dict()["remedy"]["settings"]
    [{'beta': 1.0}]
    """

    name: str
    severity: Severity
    verdict: str
    evidence: Evidence
    remedy: Remedy = field(default_factory=Remedy)

    def __str__(self) -> str:
        return f"{self.severity}: {self.verdict} {self.remedy}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as JSON can hold it; infinity and NaN are None."""
        remedy = {
            "settings": [dict(each) for each in self.remedy.options],
            "advice": self.remedy.advice,
            "trials": [each._asdict() for each in self.remedy.trials],
        }
        return _finite(asdict(self) | {"remedy": remedy})

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Finding:
        """Return the finding that `to_dict` returned; raise a ValueError for anything else."""
        try:
            remedy, evidence = saved["remedy"], dict(saved["evidence"])
            missing = {k: math.nan for k in ("value", "threshold") if evidence[k] is None}
            trials = [
                Trial(**each | {"settings": _with_tuples(each["settings"])} | _not_finite(each))
                for each in remedy["trials"]
            ]
            settings = [_with_tuples(each) for each in remedy["settings"]]
            finding = cls(
                str(saved["name"]),
                SEVERITIES[SEVERITIES.index(saved["severity"])],
                str(saved["verdict"]),
                Evidence(**evidence | missing),
                Remedy(*settings, advice=str(remedy["advice"]), trials=trials),
            )
            f"{finding} {finding.evidence}"  # raises an error for text in place of numbers
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a finding: {one_line(repr(error))}") from None
        return finding


def _with_tuples(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the tuples that JSON holds as lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}


def _not_finite(trial: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a trial that JSON cannot hold."""
    return {k: math.nan for k in ("gain", "standard_error") if trial.get(k, 0.0) is None}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class NotMade(NamedTuple):
    """A check that could not be made, and why."""

    name: str
    reason: str


class Findings(Sequence[Finding]):
    """All findings on a model, the worst first, and the checks that could not be made.

    ``print(findings)`` shows them as a table.

    Parameters
    ----------
    findings : sequence of Finding
        In the order of the checks, which goes from causes to consequences: of equally severe
        findings the first one may explain the others.
    not_made : sequence of NotMade
    rows : sequence of str
        Which rows were used, in words.

    Examples
    --------
    >>> good = Finding("a", "ok", "All is well.", Evidence("gap", 1.0, threshold=2.0))
    >>> bad = Finding("b", "warning", "The gap is wide.", Evidence("gap", 3.0, threshold=2.0))
    >>> findings = Findings([good, bad], [NotMade("drift", "needs new rows")], ["50 test rows"])
    >>> findings.worst, [each.name for each in findings]
    ('warning', ['b', 'a'])
    >>> print(findings)
    warning   b      The gap is wide.
                     gap: 3, threshold 2
    ok        a      All is well.
                     gap: 1, threshold 2
    not made  drift  needs new rows
    <BLANKLINE>
    Measured on 50 test rows.
    """

    def __init__(
        self,
        findings: Sequence[Finding],
        not_made: Sequence[NotMade] = (),
        rows: Sequence[str] = (),
    ) -> None:
        self._findings = sorted(findings, key=lambda each: SEVERITIES.index(each.severity))
        self.not_made, self.rows = tuple(not_made), tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Finding: ...
    @overload
    def __getitem__(self, index: slice) -> list[Finding]: ...
    def __getitem__(self, index: int | slice) -> Finding | list[Finding]:
        return self._findings[index]

    def __len__(self) -> int:
        return len(self._findings)

    @property
    def worst(self) -> Severity:
        """The greatest severity; "ok" if nothing was found."""
        return self._findings[0].severity if self._findings else "ok"

    @property
    def important(self) -> list[Finding]:
        """The warnings and failures, at most the three worst, each with another remedy."""
        by_remedy: dict[str, Finding] = {}
        for each in self:
            if each.severity in ("failure", "warning"):
                remedy = settings_text(each.remedy.settings) or each.remedy.advice or each.name
                by_remedy.setdefault(remedy, each)
        return [*by_remedy.values()][:IMPORTANT]

    @property
    def in_summary(self) -> list[Finding]:
        """The important findings; if there are none, the first note with settings to try."""
        notes = [each for each in self if each.severity == "note" and each.remedy.settings]
        return self.important or notes[:1]

    @property
    def not_ok(self) -> list[Finding]:
        """The failures, warnings and notes."""
        return [each for each in self if each.severity != "ok"]

    @classmethod
    def from_dicts(cls, saved: Sequence[Mapping[str, Any]]) -> Findings:
        """Return findings from what `Finding.to_dict` returned for each of them.

        Raises
        ------
        ValueError
            Names the first entry that is not a finding.
        """
        findings = []
        for i, each in enumerate(saved):
            try:
                findings.append(Finding.from_dict(each))
            except ValueError as error:
                raise ValueError(f"findings[{i}] is {error}") from None
        return cls(findings)

    def because(self, reason: str) -> Findings:
        """Return the same findings, with a reason why rows are missing."""
        not_made = [NotMade(name, f"{lack}: {reason}") for name, lack in self.not_made]
        return Findings(self, not_made, self.rows)

    def lines(self) -> Iterator[tuple[str, str, list[str]]]:
        """Return severity, name and text of each finding, and of each check that was not made."""
        for each in self:
            remedy = [] if each.severity == "ok" else [str(each.remedy)]
            yield (
                each.severity,
                each.name,
                [each.verdict, str(each.evidence), *filter(None, remedy)],
            )
        for name, reason in self.not_made:
            yield "not made", name, [reason]

    @property
    def measured_on(self) -> str:
        """Which rows were used, as a sentence."""
        return f"Measured on {', '.join(self.rows)}." if self.rows else ""

    def __str__(self) -> str:
        lines = list(self.lines())
        first, second = (max((len(line[i]) for line in lines), default=0) for i in (0, 1))
        indent = " " * (first + second + 4)
        text = []
        for severity, name, sentences in lines:
            start = f"{severity:<{first}}  {name:<{second}}  "
            for sentence in sentences:
                text += textwrap.wrap(
                    sentence, WIDTH, initial_indent=start, subsequent_indent=indent
                )
                start = indent
        return "\n".join([*text, *(["", self.measured_on] if self.rows else [])])

    def __repr__(self) -> str:
        return f"<{len(self)} findings, the worst: {self.worst}>"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it."""
        return {
            "worst": self.worst,
            "findings": [each.to_dict() for each in self],
            "not_made": [each._asdict() for each in self.not_made],
            "rows": list(self.rows),
        }

    def to_json(self) -> str:
        """Return `to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_frame(self) -> Any:
        """Return a pandas data frame with one line for each finding."""
        pandas = import_optional("pandas", what="Findings.to_frame", extra="tables")
        return pandas.DataFrame(
            {
                "name": each.name,
                "severity": each.severity,
                "verdict": each.verdict,
                **asdict(each.evidence),
                "remedy": str(each.remedy),
            }
            for each in self
        )
