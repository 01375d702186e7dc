"""The page: whole, self-contained, and safe with names from outside."""

import base64
import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

import isthmus
from isthmus.report import write_report
from isthmus.training.recorder import SampleRecorder

DIGITS = load_digits()
X, Y = (DIGITS.images[:400] / 16).astype(np.float32), DIGITS.target[:400]


def fitted(cls, X=X, y=Y, **settings):
    recorder = SampleRecorder()
    estimator = cls(**{"epochs": 2, "hidden": (16,), "random_state": 0, **settings})
    estimator.fit(X, y, callbacks=[recorder])
    return estimator, recorder.pictures(estimator)


@pytest.fixture(scope="module")
def vae():
    return fitted(isthmus.VAE, n_components=2)


def written(path, fit, X=X, y=Y, **kwargs):
    estimator, samples = fit
    kwargs = {
        "summary": [("ELBO (nats an example)", -24.123456)],
        "settings": estimator.get_params(),
        "title": "a title",
        **kwargs,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(path / "r.html", estimator=estimator, X=X, y=y, samples=samples, **kwargs)
    return (path / "r.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """All start tags with their attributes; and whether each is closed."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, page):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def headings(page):
    return re.findall(r"<h2[^>]*>([^<]*)", page)


def test_a_page_of_a_vae_has_all_its_parts(tmp_path, vae):
    page = written(tmp_path, vae, notes=["a note"])
    assert headings(page) == [
        "Held-out numbers",
        "Originals beside reconstructions",
        "Samples by epoch",
        "Loss over the epochs",
        "Map of the latent space",
        "Decoded latent plane",
        "Settings",
    ]
    for text in ("a title", "a note", "−log p(x|z)", "-24.12", "learning_rate", "0.001"):
        assert text in page
    assert len(page) < 5e6


def test_nothing_is_loaded_from_elsewhere(tmp_path, vae):
    page = written(tmp_path, vae)
    parsed = Tags(page)
    assert not parsed.open
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object"}
    assert dict(parsed.tags)["html"]["lang"] == "en"
    for tag, attributes in parsed.tags:
        assert not {"href", "srcset", "style"} & set(attributes), tag
    assert "url(" not in page
    assert "@import" not in page


def test_figures_are_pictures_with_a_text_and_a_size(tmp_path, vae):
    images = [a for tag, a in Tags(written(tmp_path, vae)).tags if tag == "img"]
    assert len(images) == 5
    for image in images:
        kind, content = image["src"].split(",")
        assert kind == "data:image/png;base64"
        data = base64.b64decode(content)
        assert data.startswith(b"\x89PNG")
        size = [int.from_bytes(data[i : i + 4], "big") for i in (16, 20)]
        assert [int(image["width"]), int(image["height"])] == pytest.approx(size, abs=1)
        assert len(image["alt"]) > 20


def test_markup_in_names_is_text(tmp_path, vae):
    evil = '<script>alert("1")</script>'
    labels = np.array(["<i>a</i>", "$b$", "_c", "d"])[Y % 4]
    page = written(
        tmp_path,
        vae,
        y=labels,
        title=evil,
        notes=[evil],
        summary=[(evil, evil)],
        settings={evil: evil, "nested": {evil: [evil]}},
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 9  # the title stands in the head too
    assert not Tags(page).open


def test_a_conditional_model_is_told_its_labels(tmp_path):
    labels = np.array(["<b>zero</b>", "one"])[(Y > 4).astype(int)]
    page = written(tmp_path, fitted(isthmus.ConditionalVAE, y=labels, n_components=2), y=labels)
    assert "decoded as label &lt;b&gt;zero&lt;/b&gt;" in page
    assert "which the model is told" in page
    written(tmp_path, fitted(isthmus.ConditionalVAE, y=labels, n_components=2), y=None)


def test_a_condition_of_numbers(tmp_path):
    y = np.stack([Y / 3, Y**2], axis=1)
    page = written(tmp_path, fitted(isthmus.ConditionalVAE, y=y, n_components=3), y=y)
    assert "One latent at a time" in page


def test_without_a_prior_there_are_no_samples(tmp_path):
    for n in (1, 2, 3):
        page = written(tmp_path, fitted(isthmus.Autoencoder, n_components=n), y=None)
        assert "Samples by epoch" not in headings(page)
        assert ("Decoded latent plane" in headings(page)) == (n == 2)
        assert "the KL divergence" not in page


def test_a_table_from_a_data_frame(tmp_path):
    data = load_breast_cancer(as_frame=True)
    fit = fitted(isthmus.VAE, data.data, None, n_components=4)
    page = written(tmp_path, fit, data.data, data.target_names[data.target])
    assert "standard deviations of each feature" in page


def test_bytes_in_colour_few_of_them_and_a_history_of_none(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32)).astype(np.uint8)
    fit = fitted(isthmus.VAE, pictures, None, n_components=2)
    fit[0].history_ = []
    page = written(tmp_path, fit, pictures[:3], None, summary=[], settings=None)
    assert "Loss over the epochs" not in headings(page)
    assert "Settings" not in headings(page)
    assert len(page) < 5e6


def test_the_same_arguments_give_the_same_file(tmp_path, vae):
    assert written(tmp_path, vae) == written(tmp_path, vae)


def test_folders_are_made_and_the_path_is_returned(tmp_path, vae):
    path = tmp_path / "new" / "folder" / "page.html"
    assert write_report(str(path), estimator=vae[0], X=X[:20], title="t") == path
    assert path.is_file()


def test_at_most_two_thousand_rows_are_looked_at(tmp_path, vae, monkeypatch):
    seen = []
    transform = vae[0].transform
    monkeypatch.setattr(
        vae[0],
        "transform",
        lambda X, **k: seen.append(len(X)) or transform(X, **k),
        raising=False,
    )
    written(tmp_path, vae, np.tile(X, (6, 1, 1)), np.tile(Y, 6))
    assert seen == [2000]


HOSTILE = [
    "<script>alert(1)</script>",
    r"$\frac{$",
    "$x$",
    "_under",
    "a\nb",
    "<img src=x onerror=y>",
]


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_names_of_columns_and_labels_are_text_everywhere(tmp_path, n_components):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({name: rng.normal(size=60) for name in HOSTILE[:4]})
    frame[HOSTILE[5]] = np.array(HOSTILE)[rng.integers(0, 6, 60)]
    labels = np.array(HOSTILE)[rng.integers(0, 6, 60)]
    for cls, y in ((isthmus.VAE, None), (isthmus.ConditionalVAE, labels)):
        fit = fitted(cls, frame, y, n_components=n_components)
        settings = {"columns": list(frame.columns), HOSTILE[0]: dict.fromkeys(HOSTILE, HOSTILE[0])}
        page = written(
            tmp_path, fit, frame, labels, title=HOSTILE[0], notes=HOSTILE, settings=settings
        )
        assert "<script" not in page
        assert "onerror=y>" not in page
        assert {tag for tag, _ in Tags(page).tags} <= KNOWN_TAGS


KNOWN_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section"),
    *("h1", "h2", "p", "b", "ul", "li", "div", "figure", "img", "table", "caption", "tbody"),
    *("tr", "th", "td"),
}
