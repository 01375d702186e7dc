"""Figures show what their names say, for data of every shape."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from isthmus import plots
from isthmus.plots import style

SHAPES = [(8, 8), (1, 8, 6), (3, 8, 8), (2, 8, 8), (30,), (2, 100), (2, 3, 4, 5)]
RNG = np.random.default_rng(0)


def drawn(figure):
    """Draw a figure, at a low resolution, and fail on warnings."""
    assert isinstance(figure, Figure)
    figure.set_dpi(30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()
    return figure


def texts(figure):
    found = figure.findobj(lambda a: hasattr(a, "get_text") and a.get_text())
    return [t.get_text() for t in found]


def model(prior="standard", n_components=2, shape=(4, 4), decode=None):
    """Return what figures need of a fitted estimator; images show z1 left and z2 right."""

    def decoded(z, *, condition=None):
        if decode is not None:
            return decode(z, condition)
        return (
            np.repeat(z[:, :2] / 10 + 0.5, 8, axis=1)
            .reshape(-1, 2, 8)
            .swapaxes(1, 2)
            .reshape(len(z), *shape)
        )

    return SimpleNamespace(prior=prior, n_components_=n_components, decode=decoded)


def history(n=5, kl=1.0, penalty=0.0, held_out=True):
    records = []
    for epoch in range(1, n + 1):
        terms = {"loss": 10 / epoch, "reconstruction": 9 / epoch, "kl": kl, "penalty": penalty}
        if held_out:  # the third epoch is best
            terms |= {f"valid_{k}": v + abs(epoch - 3) ** 2 * 9 for k, v in terms.items()}
        records.append({"epoch": epoch, **terms})
    return records


def test_importing_leaves_pyplot_alone():
    code = "import sys, isthmus.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_can_be_drawn(shape):
    x = RNG.normal(size=(14, *shape))
    drawn(plots.pictures(x))
    drawn(plots.reconstructions(x[:8], x[1:9]))
    drawn(plots.samples_by_epoch([(1, x), (2, x)]))
    size = np.prod(shape)
    for n in (2, 3):
        decoder = RNG.normal(size=(n, size))
        m = model(n_components=n, decode=lambda z, c, d=decoder: (z @ d).reshape(-1, *shape))
        drawn(plots.traversals(m, RNG.normal(size=(9, n))))
        if n == 2:
            drawn(plots.latent_grid(m, n=4))


# ------------------------------------------------------------------ pictures


def test_a_sheet_shows_the_pixels_white_for_one():
    x = np.zeros((3, 5, 5))
    x[1] = 1
    (image,) = plots.pictures(x, columns=2).axes[0].images
    sheet = np.asarray(image.get_array())
    assert sheet.shape == (12, 12, 4)  # two by two, of five pixels and a clear one between
    assert (sheet[:5, :5] == [0, 0, 0, 255]).all()
    assert (sheet[:5, 6:11] == 255).all()
    assert (sheet[6:, 6:, 3] == 0).all(), "a place without a picture is clear"
    assert (sheet[6:, 6:, :3] == 255).all(), "clear, and white where nothing lies below"


def test_bytes_stand_for_the_unit_interval():
    x = RNG.integers(0, 256, (4, 3, 6, 6)).astype(np.uint8)
    sheets = [plots.pictures(a).axes[0].images[0].get_array() for a in (x, x / 255)]
    np.testing.assert_array_equal(*sheets)
    np.testing.assert_array_equal(sheets[0][:6, :6, :3], x[0].transpose(1, 2, 0))


def test_missing_pixels_are_clear():
    x = np.zeros((1, 5, 5))
    x[0, 2, 3] = np.nan
    (image,) = plots.pictures(x).axes[0].images
    alpha = np.asarray(image.get_array())[:5, :5, 3]
    np.testing.assert_array_equal(alpha == 0, np.isnan(x[0]))


def test_labels_are_written_as_they_are():
    figure = drawn(plots.pictures(np.zeros((2, 5, 5)), labels=["$a", "<b>"]))
    assert {"$a", "<b>"} <= set(texts(figure))


def test_characters_without_a_font_are_shown_as_code_points(monkeypatch):
    monkeypatch.setattr(style, "_font_with", lambda c: style.FONT if c.isascii() else None)
    text = style.set_text(Text(), "a猫 b")
    assert text.get_text() == "aU+732B  b"
    assert text.get_label() == "a猫 b", "the words are kept"
    assert text.get_fontfamily() == [style.FONT]
    figure = drawn(plots.latent_map(np.eye(4)[:, :2], ["猫", "猫", "犬", "犬"]))
    assert {"U+732B", "U+72AC"} <= set(texts(figure))


def test_a_font_with_the_character_follows_the_default_font(monkeypatch):
    monkeypatch.setattr(style, "_font_with", lambda c: style.FONT if c.isascii() else "Other")
    text = style.set_text(Text(), "a猫犬")
    assert text.get_text() == "a猫犬"
    assert text.get_fontfamily() == [style.FONT, "Other"]


def test_fonts_are_found_by_their_characters():
    assert style._font_with("a") == style._font_with("ع") == style.FONT
    assert style._font_with("\U000f0000") is None, "a font of last resort has boxes for all"


@pytest.mark.parametrize("words", ["a\nb", "a\x00b", "a\x1bb", "a\ud800b", "a\u202eb"])
def test_unprintable_characters_become_spaces(words):
    assert style.set_text(Text(), words).get_text() == "a b"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.pictures(np.zeros((2, 5, 5)), labels=["a"]), "expected 2 labels"),
        (lambda: plots.pictures(np.zeros((0, 5, 5))), "must have shape"),
        (lambda: plots.pictures([["a", "b"]]), "must contain numbers"),
        (lambda: plots.reconstructions(np.zeros((2, 5)), np.zeros((2, 4))), "originals have shape"),
        (
            lambda: plots.reconstructions(*np.zeros((2, 3, 4)), names="abc"),
            "expected 4 names.*got 3",
        ),
        (lambda: plots.samples_by_epoch([]), "no samples"),
        (lambda: plots.loss_curves([]), "history is empty"),
        (lambda: plots.latent_map(np.zeros(5)), "codes must have shape"),
        (lambda: plots.latent_map(np.full((5, 2), np.nan)), "NaN"),
        (lambda: plots.latent_map(np.zeros((5, 2)), [1]), "expected 5 labels"),
        (lambda: plots.latent_grid(model(n_components=3)), "n_components=2"),
        (lambda: plots.latent_grid(model(prior=None)), "pass codes"),
        (lambda: plots.traversals(model(), np.zeros((5, 3))), "codes with 2 columns, got 3"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ----------------------------------------------------------- reconstructions


def test_each_pair_has_its_error():
    x = np.zeros((7, 5, 5))
    figure = drawn(plots.reconstructions(x, x + np.linspace(0.1, 0.7, 7)[:, None, None]))
    assert {"0.100", "0.700"} <= set(texts(figure))
    assert len(figure.axes) == 2  # six pairs, and one


def test_a_table_is_a_heat_map_in_standard_deviations():
    x = RNG.normal(size=(50, 4)) * [1, 1e6, 1e-6, 0] + 7
    figure = drawn(plots.reconstructions(x, x + x.std(0)))
    original, made, difference = (axes.images[0].get_array() for axes in figure.axes[:3])
    assert original.shape == made.shape == (24, 4)
    np.testing.assert_allclose(difference[:, :3], -1, rtol=1e-3)
    assert (difference[:, 3] == 0).all(), "a constant column divides by nothing"


def test_the_columns_of_a_table_have_their_names():
    x = RNG.normal(size=(9, 3))
    names = ["age", "$x$", "a long name, longer than there is room for"]
    axes = drawn(plots.reconstructions(x, x, names)).axes[2]
    names = [t.get_text() for t in axes.texts]
    assert names == ["age", "$x$", "a long name, longer tha…"]
    x = RNG.normal(size=(9, 41))
    axes = drawn(plots.reconstructions(x, x, range(41))).axes[2]
    assert axes.get_xlabel() == "feature", "too many to be read"


# ------------------------------------------------------------------- samples


def test_first_and_last_of_many_epochs_are_shown():
    epochs = [2**k for k in range(10)]
    figure = drawn(plots.samples_by_epoch([(e, RNG.random((18, 5, 5))) for e in epochs]))
    shown = [t for t in texts(figure) if t.startswith("epoch")]
    assert len(shown) == 6
    assert {"epoch 1", "epoch 512"} <= set(shown)


# ---------------------------------------------------------------------- loss


@pytest.mark.parametrize(
    ("kwargs", "panels"),
    [
        ({}, ["total loss", "reconstruction: −log p(x|z)", "KL from posterior to prior"]),
        ({"kl": 0.0}, ["reconstruction: −log p(x|z)"]),
        ({"kl": 0.0, "penalty": 0.5}, ["total loss", "reconstruction: −log p(x|z)", "penalty"]),
    ],
)
def test_terms_that_are_zero_have_no_panel(kwargs, panels):
    figure = drawn(plots.loss_curves(history(**kwargs)))
    assert [axes.get_title(loc="left") for axes in figure.axes] == panels
    assert {axes.get_ylabel() for axes in figure.axes} == {"nats per example"}


@pytest.mark.parametrize(("held_out", "best"), [(True, 3), (False, 5)])
def test_the_best_epoch_is_marked(held_out, best):
    figure = drawn(plots.loss_curves(history(held_out=held_out)))
    assert f"epoch {best}" in figure.get_suptitle()
    for axes in figure.axes:
        assert set(axes.get_lines()[-1].get_xdata()) == {best}
        assert len(axes.get_lines()) == 2 + held_out


def test_one_epoch_and_a_history_with_partial_validation():
    drawn(plots.loss_curves(history(1)))
    mixed = [*history(3), {"epoch": 4, "loss": 0.1, "reconstruction": 0.1, "kl": 0, "penalty": 0}]
    assert "epoch 3" in drawn(plots.loss_curves(mixed)).get_suptitle()


def test_a_steep_fall_has_a_logarithmic_axis():
    records = history(50, held_out=False)
    figure = plots.loss_curves(records)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "log", "linear"]


def test_a_few_huge_losses_do_not_hide_the_others():
    records = history(50, held_out=False)
    for record in records:
        record["loss"] -= 5
        record["valid_loss"] = record["loss"] + 1
    records[30]["valid_loss"] = 2e5
    axes = drawn(plots.loss_curves(records)).axes[0]
    assert axes.get_ylim()[1] < 5
    assert "highest: 2e+05" in [text.get_text() for text in axes.texts]


def test_losses_in_axes_of_ones_own():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure, axes = pyplot.subplots(1, 2)
    model = SimpleNamespace(history_=history(5))
    assert plots.loss_curves(model, ax=axes[1]) is figure
    labels = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert labels == ["training rows", "held-out rows", "best epoch"]
    assert not axes[0].get_lines()
    assert len(figure.axes) == 2
    pyplot.close(figure)


# ---------------------------------------------------------------------- maps


def test_two_columns_are_drawn_as_they_are():
    codes = RNG.normal(size=(60, 2))
    figure = drawn(plots.latent_map(codes, np.arange(60) % 3))
    points = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(np.sort(points, axis=0), np.sort(codes, axis=0))
    assert {"0", "1", "2", "z1", "z2"} <= set(texts(figure))


def test_more_columns_are_projected_and_show_the_explained_variance():
    codes = RNG.normal(size=(500, 5)) * [4, 1, 0, 0, 0]
    names = texts(drawn(plots.latent_map(codes)))
    assert any("principal component 1 (9" in name for name in names)


def test_one_column_is_a_histogram_and_constant_codes_work():
    figure = drawn(plots.latent_map(RNG.normal(size=(60, 1)), np.arange(60) % 3))
    assert figure.axes[0].get_ylabel() == "examples"
    for n_components in (1, 2, 5):
        drawn(plots.latent_map(np.zeros((30, n_components)), np.zeros(30)))
    drawn(plots.latent_map(np.zeros((1, 5))))


def test_points_are_thinned():
    figure = plots.latent_map(RNG.normal(size=(12_000, 2)))
    assert len(figure.axes[0].collections[0].get_offsets()) == 10_000


def test_many_numbers_have_a_colour_bar_and_rare_names_are_grey():
    codes = RNG.normal(size=(100, 2))
    assert len(drawn(plots.latent_map(codes, RNG.normal(size=100))).axes) == 2
    names = texts(drawn(plots.latent_map(codes, [f"name {i % 30}" for i in range(100)])))
    assert "21 others" in names


@pytest.mark.parametrize(
    "labels", [["_a", "$b", "c"], [None, "b", "c"], [0.0, 1.0, np.nan], [True, False, True]]
)
def test_labels_of_any_kind(labels):
    figure = drawn(plots.latent_map(RNG.normal(size=(30, 2)), np.array(labels * 10)))
    legend = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert len(legend) == len(set(labels))
    if labels[0] == "_a":
        assert set(legend) == set(labels)


# ------------------------------------------------------------- decoded codes


def test_the_grid_has_z1_to_the_right_and_z2_upwards():
    (image,) = plots.latent_grid(model(), n=3).axes[0].images
    sheet = np.asarray(image.get_array())[..., 0]
    cell = len(sheet) // 3
    z1 = [sheet[0, k * cell] for k in range(3)]  # columns 0 and 1 of a picture show z1
    z2 = [sheet[k * cell, 2] for k in range(3)]
    assert z1 == sorted(z1)
    assert z2 == sorted(z2, reverse=True)
    assert z1[1] == 128, "the middle is the prior's centre"


@pytest.mark.parametrize("prior", [None, "mixture"])
def test_without_a_standard_prior_the_codes_set_the_range(prior):
    codes = np.stack([np.linspace(0, 100, 101), np.linspace(-1, 0, 101)], axis=1)
    axes = plots.latent_grid(model(prior=prior), n=3, codes=codes).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "50", "99"]


def test_traversals_put_the_most_active_latent_first():
    seen = []

    def decode(z, condition):
        seen.append((z, condition))
        return np.zeros((len(z), 4, 4))

    codes = RNG.normal(size=(200, 4)) * [0.01, 3, 0.1, 1]
    figure = plots.traversals(
        model(n_components=4, decode=decode), codes, n_dims=3, n_steps=5, condition="a"
    )
    rows = [t.get_text().split()[0] for t in figure.axes[0].get_yticklabels()]
    assert rows == ["z2", "z4", "z3"]
    ((z, condition),) = seen
    expected = np.zeros((5, 4))
    expected[:, 1] = [-3, -1.5, 0, 1.5, 3]
    np.testing.assert_allclose(z[:5], expected)
    assert condition == "a"


def test_traversals_without_a_prior_stay_within_the_codes():
    seen = []

    def decode(z, condition):
        seen.append(z)
        return np.zeros((len(z), 4, 4))

    codes = RNG.normal(size=(300, 3)) + 50
    plots.traversals(model(prior=None, n_components=3, decode=decode), codes)
    assert (seen[0] >= codes.min(0)).all()
    assert (seen[0] <= codes.max(0)).all()
    np.testing.assert_allclose(seen[0][0, 1:].min(), np.median(codes, axis=0).min(), atol=3)


def test_rows_with_gaps_are_drawn_and_gaps_do_not_count():
    x = np.random.default_rng(0).normal(size=(10, 3))
    x[0, 0] = x[3, 2] = np.nan
    r = np.nan_to_num(x) + 0.5 * np.nanstd(x, 0)
    words = texts(plots.reconstructions(x, r))
    assert any("root-mean-square error 0.50" in w for w in words)
    empty = np.where(np.arange(3) == 1, np.nan, x)  # a column without values
    assert not any("nan" in w for w in texts(plots.reconstructions(empty, r)))
