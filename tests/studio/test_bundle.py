"""Tests of the bundle: manifest and arrays of the studio."""

from __future__ import annotations

import json
import os
import time

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.data import Dataset
from isthmus.data.columns import Columns
from isthmus.estimators import model_io
from isthmus.evaluation import Evidence, Finding, Remedy
from isthmus.persistence.locks import exclusive_folder
from isthmus.studio import Bundle
from isthmus.studio.page import to_json
from isthmus.studio.runs import _thinned, run_record, run_records

pytest.importorskip("onnx")

DIGITS = load_digits()
X, Y = DIGITS.images / 16, DIGITS.target
SMALL = {"hidden": (16,), "epochs": 2, "random_state": 0}


def saved(tmp_path, model, name="digits"):
    model_io.save(model, tmp_path / "run", {"name": name, "source": "/home/someone/secret.npy"})
    return tmp_path / "run"


@pytest.fixture(scope="module")
def vae():
    return isthmus.VAE(n_components=2, likelihood="bernoulli", **SMALL).fit(X)


def test_codes_scores_and_labels_match_the_estimator(tmp_path, vae):
    bundle = Bundle.load([saved(tmp_path, vae)], Dataset("digits", X, Y))
    about, arrays = bundle.manifest, bundle.arrays
    assert about["rows"] == {"n": 1797, "total": 1797, "source": "rows of digits"}
    np.testing.assert_allclose(arrays["codes"], vae.transform(X), rtol=1e-6)
    np.testing.assert_allclose(arrays["points"], vae.transform(X), rtol=1e-6)
    label, error, bound = about["columns"]
    assert label["categories"] == [str(k) for k in range(10)]
    np.testing.assert_array_equal(arrays[label["array"]], Y)
    squares = ((vae.reconstruct(X) - X) ** 2).sum((1, 2))
    np.testing.assert_allclose(arrays[error["array"]], squares, rtol=1e-4)
    np.testing.assert_allclose(-arrays[bound["array"]], vae.score_samples(X), rtol=1e-5)
    assert [s["name"] for s in about["scores"]] == ["squared error", "−ELBO"]
    assert set(about["arrays"]) == set(arrays)


def checked(run, config, *findings):
    """Save findings with a model, and return what the studio shows of them."""
    model_io.save_summary(run, config, {}, [each.to_dict() for each in findings])
    return Bundle.load([run]).manifest["findings"]


def test_findings_are_shown_the_important_ones_first(tmp_path, vae):
    evidence = Evidence("steps", 1234.0, 9.0, worse="below")
    remedies = [Remedy({"hidden": (k,)}) for k in range(4)]
    found = [Finding("a", "note", "A.", evidence)]
    found += [
        Finding(n, "warning", "B.", evidence, r) for n, r in zip("bcde", remedies, strict=True)
    ]
    config = model_io.save(vae, tmp_path / "run", {})
    shown = checked(tmp_path / "run", config, *found)
    assert [each["name"] for each in shown["first"]] == ["b", "c", "d"]
    assert [each["name"] for each in shown["others"]] == ["e", "a"]
    assert shown["first"][0] == {
        "name": "b",
        "severity": "warning",
        "verdict": "B.",
        "evidence": "steps: 1,234, threshold 9",
        "remedy": "Try hidden=(0,).",
    }


def test_a_model_without_faults_and_one_that_was_not_checked_differ(tmp_path, vae):
    run = tmp_path / "run"
    config = model_io.save(vae, run, {})
    assert Bundle.load([run]).manifest["findings"] is None
    assert checked(run, config) == {"first": [], "others": []}


@pytest.mark.parametrize("findings", [[{}], [{"name": 3, "severity": "grave"}]])
def test_entries_that_are_no_findings_are_one_clear_error(tmp_path, vae, findings):
    run = tmp_path / "run"
    model_io.save_summary(run, model_io.save(vae, run, {}), {}, findings)
    with pytest.raises(ValueError, match=r"findings\[0\] is not a finding"):
        Bundle.load([run])


def test_large_data_is_sampled_reproducibly(tmp_path, vae):
    run = saved(tmp_path, vae)
    one, two = (Bundle.load([run], Dataset("digits", X, Y), max_rows=100) for _ in range(2))
    rows = one.arrays["row"]
    np.testing.assert_array_equal(rows, two.arrays["row"])
    assert len(rows) == 100
    assert one.manifest["rows"]["total"] == 1797
    np.testing.assert_allclose(one.items(np.arange(3)), X[rows[:3]].reshape(3, -1))


def test_test_rows_are_preferred(tmp_path, vae):
    data = Dataset("d", X[:1000], Y[:1000], X_test=X[1000:], y_test=Y[1000:])
    bundle = Bundle.load([saved(tmp_path, vae)], data)
    assert bundle.manifest["rows"]["source"] == "test rows of d"
    assert len(bundle.arrays["codes"]) == 797


def test_map_of_many_latents_is_an_orthonormal_projection(tmp_path):
    model = isthmus.VAE(n_components=5, **SMALL).fit(X)
    bundle = Bundle.load([saved(tmp_path, model)], Dataset("digits", X))
    plane, codes = bundle.manifest["map"], bundle.arrays["codes"]
    components, mean = np.array(plane["components"]), np.array(plane["mean"])
    np.testing.assert_allclose(bundle.arrays["points"], (codes - mean) @ components.T, atol=1e-4)
    np.testing.assert_allclose(components @ components.T, np.eye(2), atol=1e-6)
    order = bundle.manifest["latents"]["order"]
    assert (np.diff(codes.var(0)[order]) <= 0).all()


def test_map_of_one_latent_has_random_jitter(tmp_path):
    model = isthmus.VAE(n_components=1, **SMALL).fit(X)
    bundle = Bundle.load([saved(tmp_path, model)], Dataset("digits", X))
    assert bundle.arrays["points"].shape == (1797, 2)
    assert np.shape(bundle.manifest["map"]["components"]) == (1, 1)


def test_bundle_without_data_has_prior_and_latents(tmp_path, vae):
    bundle = Bundle.load([saved(tmp_path, vae)], no_data_reason="the data moved")
    about = bundle.manifest
    assert about["rows"] is None
    assert about["no_data_reason"] == "the data moved"
    assert not about["columns"]
    assert about["prior"] == {"kind": "standard"}
    assert about["latents"]["order"] == [0, 1]
    assert about["map"]["kind"] == "codes"
    assert "points" not in bundle.arrays
    with pytest.raises(ValueError, match="no data for this run"):
        bundle.items(np.array([0]))


def test_display_range_without_data_comes_from_decoded_draws(tmp_path):
    model = isthmus.VAE(n_components=2, **SMALL).fit(100 + 10 * X)
    item = Bundle.load([saved(tmp_path, model)]).manifest["item"]
    assert 90 < item["low"] < item["high"] < 120


@pytest.mark.parametrize("prior", ["mixture", "vamp"])
def test_learned_prior_is_represented_by_draws(tmp_path, prior):
    model = isthmus.VAE(n_components=2, prior=prior, prior_modes=5, **SMALL).fit(X)
    bundle = Bundle.load([saved(tmp_path, model)])
    assert bundle.manifest["prior"]["kind"] == "draws"
    centres, offsets = bundle.arrays["prior_centres"], bundle.arrays["prior_offsets"]
    assert len(np.unique(centres.round(5), axis=0)) <= 5
    bundled = (centres + offsets).mean(0)
    expected = model.model_.prior_given().sample((20000,)).mean(0).numpy()
    np.testing.assert_allclose(bundled, expected, atol=0.2)


def test_conditional_prior_has_draws_per_class_and_for_unknown(tmp_path):
    model = isthmus.ConditionalVAE(n_components=2, prior="mixture", prior_modes=3, **SMALL)
    bundle = Bundle.load([saved(tmp_path, model.fit(X, Y))])
    prior = bundle.manifest["prior"]
    assert prior["parts"] == 11
    assert len(bundle.arrays["prior_centres"]) == 11 * prior["n"]


def test_model_without_prior_has_draws_fitted_to_its_codes(tmp_path):
    model = isthmus.Autoencoder(n_components=3, **SMALL).fit(X)
    bundle = Bundle.load([saved(tmp_path, model)], Dataset("digits", X))
    drawn = bundle.arrays["prior_centres"] + bundle.arrays["prior_offsets"]
    codes = bundle.arrays["codes"]
    np.testing.assert_allclose(drawn.mean(0), codes.mean(0), atol=0.3 * codes.std())
    assert not bundle.manifest["model"]["has_std"]
    assert "std" not in bundle.arrays
    assert Bundle.load([tmp_path / "run"]).manifest["prior"] is None


def test_table_features_have_names_and_categories(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame(
        {
            "age": rng.integers(20, 80, 200),
            "city</script>": rng.choice(["東京", "<b>Oslo</b>"], 200),
        }
    )
    columns = Columns.learn(frame)
    model = isthmus.VAE(n_components=2, **SMALL).fit(frame)
    data = Dataset("people", columns.to_numbers(frame), None, columns)
    bundle = Bundle.load([saved(tmp_path, model)], data)
    item = bundle.manifest["item"]
    assert item["kind"] == "table"
    assert [f["name"] for f in item["features"]] == ["age", "city</script>"]
    assert item["features"][1]["categories"] == ["<b>Oslo</b>", "東京"]
    assert bundle.manifest["columns"][-1]["categories"] == ["<b>Oslo</b>", "東京"]
    assert [c["feature"] for c in bundle.manifest["columns"][-2:]] == [0, 1]
    text = to_json(bundle.manifest)
    assert "<" not in text
    assert json.loads(text)["item"] == item


def test_manifest_contains_no_paths(tmp_path, vae):
    bundle = Bundle.load([saved(tmp_path, vae)], Dataset("digits", X))
    assert "secret" not in to_json(bundle.manifest)


def test_manifest_of_a_run_in_training(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    facts = {"format": 1, "estimator": "vae", "params": {"beta": 1.0}, "epochs": 9, "started": 0.0}
    lines = [facts | {"data": {"name": "digits", "shape": [9, 8, 8]}}, {"epoch": 1, "loss": 3.0}]
    (folder / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    about = Bundle.load([folder]).manifest
    assert about["model"]["n_components"] == 0
    assert about["map"] is None
    (run,) = about["runs"]
    assert run["training"]
    assert run["epochs"] == 9
    assert run["history"] == [{"epoch": 1, "loss": 3.0}]


def test_runs_with_equal_names_are_distinguished_by_folder(tmp_path, vae):
    for name in ("a", "b"):
        saved(tmp_path / name, vae)
    runs = run_records([tmp_path / "a" / "run", tmp_path / "b" / "run"])
    assert [run["name"] for run in runs] == ["a/run", "b/run"]
    assert [run["name"] for run in run_records([tmp_path / "a" / "run"])] == ["run"]


@pytest.mark.parametrize("labels", [Y.astype(float), Y + 10**6, np.array(["", "a"])[Y % 2]])
def test_condition_classes_match_label_names(tmp_path, labels):
    model = isthmus.ConditionalVAE(n_components=2, **SMALL).fit(X, labels)
    about = Bundle.load([saved(tmp_path, model)], Dataset("digits", X, labels)).manifest
    names = about["columns"][0]["categories"]
    assert about["model"]["classes"] == names
    assert len(set(names)) == len(names)
    assert all(names)


def test_folder_without_run_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Bundle.load([tmp_path / "nothing"])
    with pytest.raises(FileNotFoundError, match="holds no saved model"):
        Bundle.load([tmp_path])


def test_thinned_history_keeps_best_and_last_record():
    history = [{"epoch": k, "loss": abs(k - 4321) / 10} for k in range(1, 10_000)]
    kept = [record["epoch"] for record in _thinned(history)]
    assert len(kept) <= 2002
    assert {1, 4321, 9999} <= set(kept)


def test_interrupted_run_is_not_in_training(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    facts = {"format": 1, "estimator": "vae", "params": {}, "epochs": 9, "started": 0.0}
    facts["data"] = {"name": "digits", "shape": [9, 8, 8]}
    (folder / "training.jsonl").write_text(json.dumps(facts) + "\n")
    long_ago = time.time() - 3600
    os.utime(folder / "training.jsonl", (long_ago, long_ago))
    assert not run_record(folder)["training"]
    with exclusive_folder(folder):
        assert run_record(folder)["training"]
