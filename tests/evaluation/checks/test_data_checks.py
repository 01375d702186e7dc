"""Checks of the data: each fault is found, and sound data are not accused."""

from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from measured import findings_of, severities_of

from isthmus import VAE, ConditionalVAE
from isthmus.evaluation import check
from isthmus.evaluation.checks.claim import CannotCheckError
from isthmus.evaluation.checks.copies import copies, expected_copies
from isthmus.evaluation.checks.data import (
    bad_scale,
    columns,
    drift,
    is_scaled,
    out_of_range,
)
from isthmus.evaluation.checks.tables import is_table
from isthmus.evaluation.checks.two_sample import moved_columns, separation

MIXING = np.random.default_rng(7).normal(size=(2, 5))


def rows(n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)) @ MIXING + 0.3 * rng.normal(size=(n, 5))


TRAIN, TEST, NEW = rows(400), rows(200, 1), rows(200, 2)


def fitted(X, **settings):
    return VAE(
        **{"n_components": 2, "hidden": (8,), "epochs": 2, "random_state": 0} | settings
    ).fit(X)


@pytest.fixture(scope="module")
def model():
    return fitted(TRAIN)


# ------------------------------------------------------------------------------ copied rows


@pytest.mark.parametrize(("copied", "severity"), [(0, "ok"), (1, "ok"), (10, "warning")])
def test_test_rows_that_are_training_rows_are_found(model, copied, severity):
    test = np.concatenate([TEST, TRAIN[:copied]])
    assert severities_of(copies, model, TRAIN, test) == {"copied rows": severity}


def test_copies_are_found_in_a_sample_of_many_training_rows(model):
    train = rows(20_000)
    test = np.concatenate([TEST, train[:50]])
    found = findings_of(copies, model, train, test)["copied rows"]
    assert found.severity == "warning"
    assert found.evidence.value == pytest.approx(0.2, abs=0.1)


def test_copies_are_found_if_the_data_were_doubled_before_the_split(model):
    doubled = np.random.default_rng(0).permutation(np.repeat(rows(500), 2, axis=0))
    assert severities_of(copies, model, doubled[:800], doubled[800:]) == {"copied rows": "warning"}


def test_data_that_repeat_by_nature_are_not_copies():
    def draw(n, seed):
        bits = np.random.default_rng(seed).random((n, 6)) < (0.1, 0.2, 0.3, 0.5, 0.5, 0.5)
        return np.column_stack([bits, bits[:, :2]]).astype(float)

    train = draw(400, 0)
    model = fitted(train, likelihood="bernoulli")
    assert severities_of(copies, model, train, draw(200, 1)) == {"copied rows": "ok"}
    shapes = np.random.default_rng(3).random((600, 40))[:, np.r_[0:14, [0] * 26]] < 0.25
    pairs = shapes.astype(float)  # few rows repeat, and none often
    assert (
        severities_of(copies, fitted(pairs, likelihood="bernoulli"), pairs[:400], pairs[400:])[
            "copied rows"
        ]
        == "ok"
    )
    rare = train[np.unique(train, axis=0, return_index=True)[1]]  # each once: not as drawn
    assert severities_of(copies, model, train, rare)["copied rows"] == "ok"


def discrete(kind, n=900):
    """Return rows that repeat by chance, or may do so, as whole numbers."""
    rng = np.random.default_rng(5)
    bits = rng.integers(2, size=(n, 12))
    centers = rng.integers(4, size=(40, 9))[rng.integers(40, size=n)]
    return {
        "3 bits": bits[:, :3],
        "12 bits": bits,
        "one-hot": np.column_stack([np.eye(4)[c] for c in rng.integers(4, size=(6, n))]),
        "ages": np.round(rng.normal(40, 12, size=(n, 1))),
        "codes": rng.integers(4000, size=(n, 1)),
        "heights, weights": np.round(rng.normal((170, 70), (8, 10), size=(n, 2))),
        "twice each column": np.column_stack([bits[:, :9], 1 - bits[:, :9]]),
        "kinds": np.where(rng.random((n, 9)) < 0.1, rng.integers(4, size=(n, 9)), centers),
        "counts": rng.poisson((1, 2, 0.5, 4), size=(n, 4)),
        "number and bits": np.column_stack([rng.normal(size=n), bits[:, :5]]),
    }[kind].astype(float)


KINDS = ("3 bits", "12 bits", "one-hot", "ages", "codes", "heights, weights", "twice each column")
KINDS = (*KINDS, "kinds", "counts", "number and bits")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_repeat_by_chance_are_not_copies(kind):
    X = discrete(kind)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(X))
        train, test = X[order[:600]], X[order[600:]]
        assert severity_of_copies(train, test) == "ok"


@pytest.mark.parametrize("kind", ["30 categories", "12 bits", "number and bits"])
def test_copies_are_found_in_tables_of_few_values(kind):
    rng = np.random.default_rng(0)
    X = rng.integers(6, size=(900, 30)) * 1.0 if kind == "30 categories" else discrete(kind)
    train, test = X[:600], X[600:].copy()
    test[:60] = train[:60]
    assert severity_of_copies(train, test) == "warning"
    if kind != "12 bits":
        doubled = rng.permutation(np.repeat(X[:450], 2, axis=0))
        assert severity_of_copies(doubled[:600], doubled[600:]) == "warning"


class Given(NamedTuple):
    """Rows, of which only the values are needed."""

    values: np.ndarray
    n_given: int

    def __len__(self):
        return self.n_given


def severity_of_copies(train, test):
    given = (Given(values, len(values)) for values in (train, test))
    [claim] = copies(SimpleNamespace(**dict(zip(("train", "test"), given, strict=True))))
    return claim.finding(claim.evidence.probability).severity


@pytest.mark.parametrize(("levels", "chance"), [(2, 0.18), (9, 0.0)])
def test_the_number_of_equal_rows_by_chance_follows_from_the_neighbours(levels, chance):
    rows = np.random.default_rng(0).integers(levels, size=(1000, 12))
    found = np.array([(row == rows[:800]).all(axis=1).any() for row in rows[800:]])
    expected = 1 - np.exp(-expected_copies(rows[:800], rows[800:]))
    assert found.mean() == pytest.approx(chance, abs=0.03)
    assert expected.mean() == pytest.approx(chance, abs=0.03)


def test_missing_values_and_negative_zeros_are_compared(model):
    train = np.array([[0.0, 1, 2, 3, 4], *TRAIN[:50]])
    test = np.array([[-0.0, 1, 2, 3, 4], *TEST[:9]])
    assert findings_of(copies, model, train, test)["copied rows"].evidence.value == 0.1
    train[0, 3] = test[0, 3] = np.nan
    model = fitted(train, missing="ignore")
    assert findings_of(copies, model, train, test)["copied rows"].evidence.value == 0.1


# ------------------------------------------------------------------------------ columns


def test_constant_columns_and_identifiers_are_named():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TRAIN[:, :3], columns=["a", "b", "c"])
    frame = frame.assign(
        one=1.5, customer=np.arange(len(frame)) + 1000, age=np.arange(len(frame)) % 80
    )
    found = findings_of(columns, fitted(frame), frame)
    assert {name: each.severity for name, each in found.items()} == {
        "constant columns": "note",
        "identifiers": "note",
    }
    assert found["constant columns"].verdict == "All rows have the same value in column 'one'."
    assert "number in column 'customer', as identifiers do" in found["identifiers"].verdict


def test_columns_of_measurements_are_sound(model):
    assert set(severities_of(columns, model, TRAIN).values()) == {"ok"}
    assert is_table(model)
    assert not is_table(fitted(np.random.default_rng(0).random((50, 4, 4))))


# ------------------------------------------------------------------------------ range


def test_values_far_outside_the_range_are_found_with_their_columns(model):
    wrong_units = NEW.copy()
    wrong_units[:, 3] *= 1000
    wrong_units[:30, 1] = -999
    found = findings_of(out_of_range, model, TRAIN, TEST, wrong_units)
    assert found["range of test rows"].severity == "ok"
    assert found["range of new rows"].severity == "warning"
    assert found["range of new rows"].verdict.endswith("in columns 3 and 1.")


def test_few_values_outside_the_range_are_no_fault(model):
    few = NEW.copy()
    few[0] = 100.0
    assert set(severities_of(out_of_range, model, TRAIN, few).values()) == {"ok"}
    heavy = np.random.default_rng(0).standard_cauchy((800, 5))
    assert (
        severities_of(out_of_range, model, heavy[:400], heavy[400:])["range of test rows"] == "ok"
    )


def test_pixels_share_one_range():
    images = np.random.default_rng(0).random((60, 4, 4))
    images[:, 0, 0] = 0.0
    model = fitted(images)
    corner = images.copy()
    corner[:, 0, 0] = 1.0
    assert severities_of(out_of_range, model, images, corner)["range of test rows"] == "ok"
    assert (
        severities_of(out_of_range, model, images, images * 255)["range of test rows"] == "warning"
    )


def test_the_range_needs_other_rows(model):
    with pytest.raises(CannotCheckError, match="needs test rows or new rows"):
        findings_of(out_of_range, model, TRAIN)


# ------------------------------------------------------------------------------ scale


def test_an_enormous_column_is_found_unless_columns_are_scaled():
    enormous = TRAIN * (1, 1, 1e4, 1, 1)
    found = findings_of(bad_scale, fitted(enormous, scaling="none"), enormous)
    assert found["dominant column"].severity == "failure"
    assert found["dominant column"].verdict.startswith("Column 2 makes up")
    assert found["dominant column"].remedy.settings == {"scaling": "standard"}
    assert set(severities_of(bad_scale, fitted(enormous), enormous).values()) == {"ok"}


def test_a_heavy_tailed_column_is_found(model):
    heavy = TRAIN.copy()
    heavy[:, 4] = np.random.default_rng(0).standard_cauchy(len(heavy)) ** 3
    found = findings_of(bad_scale, fitted(heavy), heavy)
    assert found["heavy tails"].severity == "warning"
    assert "column 4" in found["heavy tails"].verdict


def test_skewed_and_rare_columns_are_sound():
    rng = np.random.default_rng(0)
    skewed = np.exp(rng.normal(size=(500, 4)))
    rare = np.column_stack([skewed, rng.random(500) < 0.005])
    assert set(severities_of(bad_scale, fitted(rare), rare).values()) == {"ok"}


def test_scales_matter_for_vectors_of_real_numbers_only(model):
    assert is_scaled(model)
    bits = (TRAIN > 0).astype(float)
    assert not is_scaled(fitted(bits, likelihood="bernoulli"))


# ------------------------------------------------------------------------------ drift


def test_drift_names_the_columns_that_moved(model):
    moved = NEW + np.array([0, 0, 2.0, 0, -4.0])
    found = findings_of(drift, model, TRAIN, TEST, moved)
    assert {name: each.severity for name, each in found.items()} == {
        "drift": "warning",
        "drifted columns": "warning",
    }
    assert found["drifted columns"].verdict.startswith("The distribution of columns 4 and 2 diff")


def test_rows_of_the_same_distribution_do_not_drift(model):
    for known in ({"test": TEST}, {"train": TRAIN}):
        assert set(severities_of(drift, model, new=NEW, **known).values()) == {"ok"}


def test_missing_values_that_become_frequent_are_drift():
    train = TRAIN.copy()
    train[::50, 1] = np.nan
    new = NEW.copy()
    new[::2, 1] = np.nan
    model = fitted(train, missing="ignore")
    found = findings_of(drift, model, train, None, new)
    assert found["drifted columns"].verdict.startswith("The distribution of column 1 differs")


def test_drift_of_images_is_found_by_their_codes():
    rng = np.random.default_rng(0)
    images = rng.random((300, 1, 1)) * np.ones((300, 4, 4)) + 0.05 * rng.normal(size=(300, 4, 4))
    model = fitted(images, epochs=5)
    assert severities_of(drift, model, images[:200], None, images[200:]) == {"drift": "ok"}
    assert severities_of(drift, model, images[:200], None, 1 - images[200:] / 3) == {
        "drift": "warning"
    }


def test_drift_of_conditional_models_is_measured_under_the_labels():
    y = np.repeat([0, 1], 200)
    model = ConditionalVAE(n_components=2, hidden=(8,), epochs=2, random_state=0).fit(TRAIN, y)
    labels = (y, None, y[::2])
    assert severities_of(drift, model, TRAIN, None, NEW, labels=labels)["drift"] == "ok"


def test_drift_needs_rows_to_compare(model):
    with pytest.raises(CannotCheckError, match="needs test rows or training rows"):
        findings_of(drift, model, new=NEW)
    with pytest.raises(CannotCheckError, match="at least 20 rows"):
        findings_of(drift, model, TRAIN, new=NEW[:5])
    assert ("drift", "needs new rows") in check(model, TRAIN, TEST, costly=False).not_made


def test_equal_distributions_are_told_apart_by_chance_only():
    p_values = [separation(rows(100, i), rows(100, 50 + i)).p_value for i in range(3)]
    assert min(p_values) > 0.001
    distance, p_value = moved_columns(rows(300), rows(300, 1))
    assert p_value.min() > 0.01
    assert distance.shape == (5,)
