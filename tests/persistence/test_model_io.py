import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import isthmus
from isthmus.estimators import model_io
from isthmus.nn.dense import Shapes, mlp
from isthmus.persistence.run_folder import CONFIG, HISTORY, WEIGHTS

DIGITS = load_digits()
X, Y = DIGITS.images[:300] / 16, DIGITS.target[:300]


@pytest.fixture(scope="module")
def vae():
    return isthmus.VAE(n_components=3, hidden=(16,), epochs=2, random_state=0).fit(X)


@pytest.mark.parametrize("name", sorted(model_io.ESTIMATORS))
@pytest.mark.parametrize("data", ["bernoulli", "gaussian"])
def test_a_loaded_model_gives_the_same_results(name, data, tmp_path):
    rows = X > 0.5 if data == "bernoulli" else 1e3 + 16 * X.reshape(300, -1)
    model = model_io.ESTIMATORS[name](n_components=3, hidden=(16,), epochs=2, random_state=0)
    model.fit(rows, Y)
    assert model.likelihood_.startswith(data)
    model.save(tmp_path / "saved")
    again = isthmus.load(tmp_path / "saved")
    assert type(again) is type(model)
    assert again.get_params() == model.get_params()
    assert again.history_ == model.history_
    np.testing.assert_array_equal(again.transform(rows), model.transform(rows))
    np.testing.assert_array_equal(again.score_samples(rows), model.score_samples(rows))
    np.testing.assert_array_equal(
        again.inverse_transform(model.transform(rows)), model.reconstruct(rows)
    )
    if model.conditional:
        np.testing.assert_array_equal(
            again.sample(3, random_state=1, y=[1, 2, 3]),
            model.sample(3, random_state=1, y=[1, 2, 3]),
        )


def test_feature_names_and_string_labels_are_saved(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X.reshape(300, -1)[:, 20:24], columns=list("abcd"))
    labels = np.where(Y > 4, "high", "low")
    model = isthmus.ConditionalVAE(n_components=2, epochs=2).fit(frame, labels)
    model.save(tmp_path)
    again = isthmus.load(tmp_path)
    assert list(again.feature_names_in_) == list("abcd")
    assert list(again.classes_) == ["high", "low"]
    np.testing.assert_array_equal(
        again.transform(frame, condition=labels), model.transform(frame, condition=labels)
    )


def test_a_loaded_model_can_be_trained_further(vae, tmp_path):
    vae.save(tmp_path)
    again = isthmus.load(tmp_path).partial_fit(X)
    assert again.n_iter_ == vae.n_iter_ + 1
    assert len(again.history_) == len(vae.history_) + 1


def test_the_folder_holds_only_json_and_tensors(vae, tmp_path):
    vae.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [CONFIG, HISTORY, WEIGHTS]
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["estimator"] == "vae"
    assert config["params"]["hidden"] == [16]
    assert set(config["versions"]) == {"python", "torch", "numpy"}


def test_a_custom_corruption_is_not_saved(tmp_path):
    def nothing_seen(x, generator=None):
        return torch.zeros_like(x)

    rows = np.random.default_rng(0).normal(size=(64, 5)) + 3
    settings = {"n_components": 2, "epochs": 3, "random_state": 0}
    model = isthmus.DenoisingAutoencoder(corruption=nothing_seen, **settings).fit(rows)
    more = isthmus.DenoisingAutoencoder(corruption=nothing_seen, **settings | {"epochs": 9}).fit(
        rows
    )
    # What is never seen is never learned from: the first weights stay as they were made.
    weights = [next(m.model_.encoder.parameters()) for m in (model, more)]
    assert torch.equal(*weights)
    model.save(tmp_path)
    again = isthmus.load(tmp_path)
    np.testing.assert_array_equal(again.transform(rows), model.transform(rows))
    with pytest.raises(ValueError, match=r"custom corruption.*set_params"):
        again.fit(rows)
    assert again.set_params(corruption="masking").fit(rows).n_iter_ == 3


def test_loading_a_custom_backbone_requires_the_function(tmp_path):
    def mine(shapes: Shapes):
        return mlp(shapes, (5,))

    model = isthmus.VAE(n_components=2, backbone=mine, epochs=1).fit(X)
    model.save(tmp_path)
    with pytest.raises(ValueError, match="pass load\\(path, backbone=function\\)"):
        isthmus.load(tmp_path)
    again = isthmus.load(tmp_path, backbone=mine)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))


def edit(folder, **changes):
    path = folder / CONFIG
    config = json.loads(path.read_text()) | changes
    del config["sha256"]  # as whoever changes it on purpose would
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"estimator": "vea"}, "unknown estimator 'vea'.*mean 'vae'"),
        ({"estimator": "os.system"}, "unknown estimator"),
        ({"format": 99}, "newer than this isthmus"),
        ({"format": "x"}, "not the configuration"),
        ({"params": {"n_componentz": 2}}, "unknown setting 'n_componentz'.*n_components"),
        ({"params": {"n_components": -2}}, "n_components must be"),
        ({"params": {"n_components": 4, "hidden": [16]}}, "holds no valid model"),
        ({"fitted": {}}, "config.json is invalid: fitted.likelihood"),
    ],
)
def test_an_invalid_configuration_raises_in_one_line(vae, tmp_path, changes, message):
    vae.save(tmp_path)
    edit(tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        isthmus.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_files_raise(vae, tmp_path):
    vae.save(tmp_path)
    weights = tmp_path / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="holds no valid model"):
        isthmus.load(tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        isthmus.load(tmp_path)


def test_loading_an_empty_folder_raises(tmp_path):
    with pytest.raises(FileNotFoundError, match="no saved model"):
        isthmus.load(tmp_path)


def test_a_custom_class_cannot_be_saved(tmp_path):
    class Mine(isthmus.VAE):
        """A row of my own."""

    model = Mine(n_components=2, epochs=1).fit(X)
    with pytest.raises(ValueError, match="custom class"):
        model.save(tmp_path)


def test_saving_again_replaces_all_files(vae, tmp_path):
    vae.save(tmp_path)
    other = isthmus.VAE(n_components=3, hidden=(16,), epochs=1, random_state=1).fit(X)
    other.save(tmp_path)
    again = isthmus.load(tmp_path)
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.model_.parameters(), other.model_.parameters(), strict=True)
    )
    assert not list(tmp_path.glob("*.part"))
