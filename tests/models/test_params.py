from dataclasses import dataclass

import pytest

from isthmus._messages import did_you_mean
from isthmus.models.params import check_fields, describe, param, params_of
from isthmus.models.specs import SPECS, VAE, Autoencoder, BetaVAE, SparseAutoencoder


@pytest.mark.parametrize("name", SPECS)
def test_defaults_of_every_spec_are_valid(name):
    check_fields(SPECS[name]())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (VAE(n_components=0), "n_components must be an integer of at least 1 or None, got 0"),
        (VAE(n_components=2.5), "n_components must be an integer"),
        (VAE(n_components=True), "n_components must be an integer"),
        (VAE(batch_size=None), "batch_size must be an integer of at least 1, got None"),
        (VAE(epochs=0), "epochs must be an integer of at least 1 or None"),
        (VAE(learning_rate=0), "learning_rate must be a number above 0"),
        (VAE(learning_rate=float("nan")), "learning_rate must be a number above 0"),
        (VAE(learning_rate=float("inf")), r"a number above 0, got inf\. It must be below 2\^63\."),
        (VAE(learning_rate=1e300), r"got 1e\+300\. It must be below 2\^63\."),
        (VAE(learning_rate=-float("inf")), "learning_rate must be a number above 0, got -inf"),
        (BetaVAE(beta=10**400), r"got 1000.*…\. It must be below 2\^63\."),
        (VAE(hidden=(4, 2**31)), r"got \(4, 2147483648\)\. It must be below 2\^31\."),
        (VAE(epochs=2**40), r"It must be below 2\^31\."),
        (
            VAE(random_state=2**64),
            r"of at least 0 and below 2\^64 or None, got 18446744073709551616",
        ),
        (VAE(random_state=-1), r"random_state must be an integer of at least 0 and below 2\^64"),
        (VAE(random_state=1.0), "random_state must be an integer"),
        (VAE(validation_fraction=1), "of at least 0 and below 1"),
        (VAE(hidden=400), "hidden must be a sequence of integers"),
        (VAE(hidden=(400, 0)), "hidden must be a sequence of integers of at least 1"),
        (VAE(prior="vampp"), "Did you mean 'vamp'"),
        (VAE(backbone="cnn"), "backbone must be one of 'auto', 'mlp', 'gated'"),
        (SparseAutoencoder(penalty="l2"), "penalty must be one of 'l1', 'kl'"),
    ],
)
def test_error_names_the_setting_and_the_expected_values(spec, message):
    with pytest.raises(ValueError, match=message):
        check_fields(spec)


NUMBERS = sorted(
    {
        (name, p.name)
        for name, cls in SPECS.items()
        for p in params_of(cls).values()
        if not p.choices and p.scalar in (int, float)
    }
)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan"), 1e300, 10**400])
@pytest.mark.parametrize(("name", "field"), NUMBERS)
def test_no_setting_accepts_numbers_that_tensors_cannot_hold(name, field, value):
    p = params_of(SPECS[name])[field]
    spec = SPECS[name](**{field: (value,) if p.is_tuple else value})
    with pytest.raises(ValueError, match=f"{field} must be") as caught:
        check_fields(spec)
    assert len(str(caught.value)) < 700


def test_numpy_numbers_lists_and_callables_are_accepted():
    numpy = pytest.importorskip("numpy")
    check_fields(VAE(n_components=numpy.int64(3), hidden=[8, 4], learning_rate=numpy.float32(1)))
    check_fields(VAE(backbone=lambda shapes: None, patience=None))


def test_one_declaration_gives_default_help_and_bounds():
    @dataclass(kw_only=True)
    class Mine:
        speed: float = param(2.0, "How fast.", above=0)

    declared = params_of(Mine)["speed"]
    assert (declared.name, declared.default, declared.help) == ("speed", 2.0, "How fast.")
    assert declared.expected == "a number above 0"
    assert "speed : a number above 0, default=2.0" in describe(Mine)


def test_choices_that_define_a_model_are_not_settings():
    assert "beta" not in params_of(VAE)
    assert "corruption" not in params_of(Autoencoder)


def test_only_similar_names_are_suggested():
    assert did_you_mean("vea", SPECS) == " Did you mean 'vae'?"
    assert did_you_mean("zebra", SPECS) == ""
