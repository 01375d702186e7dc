"""Findings: how claims are judged together, and how the verdicts are shown and saved."""

import json
import math

import numpy as np
import pytest

from isthmus import VAE, ConditionalVAE
from isthmus.evaluation import Evidence, Finding, Findings, NotMade, Remedy, check
from isthmus.evaluation.checks import registry
from isthmus.evaluation.checks.claim import Claim, judge
from isthmus.evaluation.checks.context import MOST_ROWS
from isthmus.evaluation.checks.finding import Trial
from isthmus.evaluation.checks.registry import CHECKS, Check

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 5)) + 0.3 * RNG.normal(size=(300, 5))


@pytest.fixture(scope="module")
def model():
    return VAE(n_components=2, hidden=(8,), epochs=2, random_state=0).fit(TABLE)


LABELS = (TABLE[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def conditional():
    model = ConditionalVAE(n_components=2, hidden=(8,), epochs=2, random_state=0)
    return model.fit(TABLE, LABELS)


def claim(value, error=None, name="gap", worse="above"):
    evidence = Evidence("gap", value, threshold=1.0, standard_error=error, worse=worse)
    return Claim(name, evidence, "It is wide.", "It is small.", Remedy({"beta": 1.0}))


def severities(*claims):
    return [finding.severity for finding in judge(claims)]


def test_a_warning_needs_a_practical_size_and_significance():
    assert severities(claim(1.5), claim(0.5)) == ["warning", "ok"]
    assert severities(claim(1.5, error=0.1)) == ["warning"]
    assert severities(claim(1.5, error=0.4)) == ["ok"]  # noise
    assert severities(claim(0.9, error=1e-9)) == ["ok"]  # certain, but too small to matter
    assert severities(claim(0.5, worse="below"), claim(2.0, worse="below")) == ["warning", "ok"]


def test_p_values_are_corrected_for_the_number_of_tests():
    borderline = claim(1.25, error=0.1)  # p = 0.006
    assert severities(borderline) == ["warning"]
    assert set(severities(borderline, *[claim(0.0, error=0.1)] * 9)) == {"ok"}
    assert severities(borderline, *[claim(0.0)] * 9)[0] == "warning"  # these are not tests


@pytest.mark.parametrize(("value", "severity"), [(1.5, "warning"), (1.0, "ok"), (0.5, "ok")])
def test_values_without_noise_are_compared_with_the_threshold(value, severity):
    assert severities(claim(value, error=0.0)) == [severity]


def test_a_finding_without_fault_needs_no_remedy():
    [bad, good] = judge([claim(2.0), claim(0.0)])
    assert (bad.verdict, str(bad.remedy)) == ("It is wide.", "Try beta=1.0.")
    assert (good.verdict, str(good.remedy)) == ("It is small.", "")


def test_the_worst_comes_first_and_causes_before_consequences():
    evidence = Evidence("gap", 1.0, 0.0)
    made = [Finding(s, s, "", evidence) for s in ("ok", "warning", "note", "failure")]
    made.append(Finding("second", "warning", "", evidence))
    findings = Findings(made)
    assert [f.name for f in findings] == ["failure", "warning", "second", "note", "ok"]
    assert findings.worst == "failure"
    assert [f.name for f in findings.important] == ["failure", "warning", "second"]
    assert Findings([]).worst == "ok"


def test_a_summary_names_each_remedy_once():
    evidence = Evidence("gap", 1.0, 0.0)
    made = [Finding(n, "warning", "", evidence, Remedy({"epochs": n > "b"})) for n in "abcd"]
    assert [f.name for f in Findings(made).important] == ["a", "c"]


def test_without_warnings_a_summary_shows_one_note_with_settings_to_try():
    evidence = Evidence("gap", 1.0, 0.0)
    notes = [Finding(n, "note", "", evidence, Remedy({"beta": n})) for n in "bc"]
    found = Findings([Finding("a", "note", "", evidence), *notes])
    assert [f.name for f in found.in_summary] == ["b"]
    assert Findings([]).in_summary == []
    worse = Finding("d", "warning", "", evidence)
    assert [f.name for f in Findings([*notes, worse]).in_summary] == ["d"]


def test_findings_convert_to_json_and_back():
    trial = Trial({"beta": 1.0}, 2.0, 0.1, "nats", True)
    remedy = Remedy({"beta": 1.0}, advice="Use more rows.", trials=[trial])
    finding = Finding("a", "warning", "Bad.", Evidence("gap", math.inf, 1.0, p_value=0.001), remedy)
    saved = json.loads(Findings([finding], [NotMade("b", "needs new rows")]).to_json())
    assert saved["findings"][0]["evidence"]["value"] is None  # JSON has no infinity
    assert saved["not_made"] == [{"name": "b", "reason": "needs new rows"}]
    again = Finding.from_dict(saved["findings"][0])
    assert (again.remedy, again.severity) == (remedy, "warning")
    assert again.to_dict() == finding.to_dict()


def test_saved_findings_are_the_same_findings():
    remedy = Remedy({"hidden": (64, 32)}, trials=[Trial({"hidden": (64,)}, 1.0, 0.1, "nats", True)])
    found = [Finding("a", "warning", "Bad.", Evidence("gap", 2.0, 1.0), remedy)]
    saved = json.loads(Findings(found).to_json())["findings"]
    assert list(Findings.from_dicts(saved)) == found


@pytest.mark.parametrize(
    "change",
    [
        {"severity": "grave"},
        {"evidence": {"quantity": "gap", "value": "two", "threshold": 1.0}},
        {"evidence": {"quantity": "gap", "value": 2.0}},
        {"evidence": None},
        {"remedy": {"settings": ["beta"], "advice": "", "trials": []}},
        {"remedy": {"settings": [], "advice": "", "trials": [{"gain": "much"}]}},
    ],
)
def test_what_is_not_a_finding_is_one_clear_error(change):
    good = Finding("a", "warning", "Bad.", Evidence("gap", 2.0, 1.0)).to_dict()
    with pytest.raises(ValueError, match=r"^findings\[1\] is not a finding: .*$"):
        Findings.from_dicts([good, good | change])


@pytest.mark.parametrize(
    ("evidence", "text"),
    [
        (Evidence("steps", 36, 1000), "steps: 36, threshold 1,000"),
        (Evidence("gap", 0.12345, 0.1, p_value=1e-300), "gap: 0.123, threshold 0.1, p < 1e-10"),
        (Evidence("gap", 2e5, 0.1, "nats", 0.1, p_value=0.004), "gap: 200,000 ± 0.1 nats, thr"),
    ],
)
def test_evidence_is_readable(evidence, text):
    assert str(evidence).startswith(text)


def test_findings_convert_to_a_frame():
    pytest.importorskip("pandas")
    frame = Findings([*judge([claim(2.0), claim(0.0, name="other")])]).to_frame()
    assert frame["severity"].tolist() == ["warning", "ok"]
    assert frame["remedy"].tolist() == ["Try beta=1.0.", ""]
    assert frame["threshold"].tolist() == [1.0, 1.0]


def test_the_table_wraps_long_lines():
    finding = Finding("a long name", "warning", "word " * 60, Evidence("gap", 2.0, 1.0))
    lines = str(Findings([finding], rows=["9 test rows"])).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].startswith(" " * len("warning  a long name  ") + "word")
    assert lines[-1] == "Measured on 9 test rows."


def test_checks_without_their_rows_are_listed_with_the_reason(model):
    findings = check(model)
    assert ("collapsed units", "needs training rows") in findings.not_made
    assert ("overfitting", "needs training rows and test rows") in findings.not_made
    assert len(findings) == 1  # the history is part of the model
    assert "needs training rows" in str(findings)


def test_checks_for_other_models_are_not_listed(model, monkeypatch):
    for_none = Check("never", lambda context: 1 / 0, applies=lambda estimator: False)
    slow = Check("slow", lambda context: 1 / 0, costly=True)
    monkeypatch.setattr(registry, "CHECKS", (for_none, slow))
    assert not check(model, costly=False).not_made


def test_names_of_checks_are_unique():
    assert len({each.name for each in CHECKS}) == len(CHECKS)


def test_large_data_are_sampled_and_the_table_says_so(model):
    X = np.tile(TABLE, (20, 1))
    findings = check(model, X, TABLE[:50])
    assert findings.rows == (f"{MOST_ROWS:,} of 6,000 training rows", "50 test rows")
    assert check(model, X, TABLE[:50]).to_dict() == findings.to_dict()


def test_rows_of_every_kind_are_read(model):
    pandas = pytest.importorskip("pandas")
    sparse = pytest.importorskip("scipy.sparse")
    expected = check(model, TABLE, TABLE[:50]).to_dict()
    for read in (pandas.DataFrame, sparse.csr_array, list):
        assert check(model, read(TABLE), read(TABLE[:50])).to_dict() == expected


def test_rows_with_another_number_of_features_are_one_clear_error(model):
    with pytest.raises(ValueError, match="the test rows do not fit the model: X has 4 features"):
        check(model, TABLE, TABLE[:, :4])
    holes = np.tile(TABLE, (20, 1))
    holes[4321, 2] = np.nan
    with pytest.raises(ValueError, match=r"the new rows do not fit the model: .* row 4321"):
        check(model, X_new=holes)
    with pytest.raises(ValueError, match="300 training rows, but 10 labels"):
        check(model, TABLE, y_train=np.zeros(10))


NAN = np.where(np.arange(5) == 1, np.nan, TABLE)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"X_train": TABLE[:, 0]}, "Expected 2D array, got 1D array"),
        ({"X_train": 3}, "Expected 2D array, got scalar array"),
        ({"X_train": TABLE[:1], "X_test": TABLE}, "at least 2 training rows, got 1"),
        ({"X_train": NAN}, "Input X contains NaN: the first at row 0, feature 1"),
        ({"X_test": np.full((20, 5), "high")}, "the test rows do not fit the model"),
        ({"X_test": "rows.npy"}, "X must be an array or a table"),
        ({"X_new": TABLE + 1j}, "Complex data not supported"),
    ],
)
def test_bad_rows_are_one_clear_line(model, rows, message):
    with pytest.raises(ValueError, match=message) as error:
        check(model, **rows, costly=False)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_test_rows_and_new_rows_are_checked(model, n):
    found = check(model, TABLE, TABLE[:n], TABLE[:n], costly=False)
    assert not [reason for _, reason in found.not_made if "failed" in reason]
    assert len(found.rows) == (3 if n else 1)
    assert not check(model, TABLE[:0], [], costly=False).rows


def test_nested_lists_are_rows(model):
    found = check(model, TABLE.tolist(), TABLE[:50].tolist(), costly=False)
    assert found.to_dict() == check(model, TABLE, TABLE[:50], costly=False).to_dict()


def test_rows_without_values_are_no_error():
    model = VAE(n_components=2, hidden=(8,), epochs=2, missing="ignore", random_state=0).fit(TABLE)
    with pytest.warns(UserWarning, match="no observed value"):
        found = check(model, TABLE, TABLE * np.nan, costly=False)
    assert found.rows == ("300 training rows", "300 test rows")


@pytest.mark.parametrize("model", ["model", np.zeros(3)])
def test_other_objects_than_models_are_named(model):
    with pytest.raises(TypeError, match="check expects a model of isthmus"):
        check(model, TABLE)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"y_train": LABELS + 7, "y_test": LABELS}, "the training rows .* unknown label '7'"),
        ({"y_train": np.c_[LABELS, LABELS], "y_test": LABELS}, "y should be a 1d array"),
        ({"y_train": LABELS}, "the training rows have labels, but the test rows have none"),
        ({"y_train": 3, "y_test": LABELS}, "300 training rows, but 1 labels"),
    ],
)
def test_bad_conditions_are_one_clear_line(conditional, labels, message):
    with pytest.raises(ValueError, match=message) as error:
        check(conditional, TABLE, TABLE, **labels, costly=False)
    assert len(str(error.value).splitlines()) == 1


def test_rows_without_a_condition_are_named(conditional):
    found = check(conditional, TABLE, TABLE, costly=False)
    assert found.rows == ("300 training rows without labels", "300 test rows without labels")
    assert ("ignored condition", "needs labels of training and test rows") in found.not_made


def test_a_check_that_fails_is_listed_and_the_others_are_made(model, monkeypatch):
    def fails(context):
        raise ZeroDivisionError("no rows\nleft")

    checks = Check("broken", fails), Check("sound", lambda context: [claim(0.0)])
    monkeypatch.setattr(registry, "CHECKS", checks)
    found = check(model, TABLE)
    assert found.not_made == (("broken", "failed: no rows left"),)
    assert [each.severity for each in found] == ["ok"]
