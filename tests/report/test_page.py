"""The report is complete, self-contained and safe with untrusted names."""

import base64
import re
import warnings
from html.parser import HTMLParser
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

import isthmus
from isthmus import plots
from isthmus.data.columns import Columns
from isthmus.plots import style
from isthmus.report import link_live, write_report
from isthmus.report.pictures import as_picture
from isthmus.report.tables import reconstructed_rows
from isthmus.training.sample_history import SampleRecorder

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


@pytest.fixture(scope="module")
def page(vae, tmp_path_factory):
    """Return a page with the default arguments."""
    return written(tmp_path_factory.mktemp("page"), vae)


def written(path, fit, X=X, y=Y, **kwargs):
    estimator, samples = fit
    kwargs = {
        "summary": [("ELBO (nats per example)", -24.123456)],
        "settings": estimator.get_params(),
        "title": "a title",
        **kwargs,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_report(path / "r.html", estimator=estimator, X=X, y=y, samples=samples, **kwargs)
    return (path / "r.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Collect the start tags with their attributes, and the tags that are not closed."""

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
        "Held-out metrics",
        "Reconstructions",
        "Samples by epoch",
        "Loss curves",
        "Latent map",
        "Decoded latent plane",
        "Settings",
    ]
    for text in ("a title", "a note", "−log p(x|z)", "−24.12", "learning_rate", "0.003"):
        assert text in page
    assert len(page) < 5e6


def test_page_loads_nothing_from_other_hosts(page):
    parsed = Tags(page)
    assert not parsed.open
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "link", "iframe", "object"}
    assert dict(parsed.tags)["html"]["lang"] == "en"
    for tag, attributes in parsed.tags:
        assert not {"src", "srcset"} & set(attributes), tag
        assert attributes.get("href", "#").startswith(("#", "data:image/png;base64,")), tag
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page


def pictures(page):
    return [Xml.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_figures_have_alternative_text_and_a_size(page):
    assert len(pictures(page)) == 5
    for picture in pictures(page):
        assert picture.get("role") == "img"
        assert len(picture.get("aria-label")) > 20
        assert len(picture.get("viewBox").split()) == 4
        for image in picture.iter("image"):
            data = base64.b64decode(image.get("href").partition(",")[2])
            assert data.startswith(b"\x89PNG")


def test_ids_are_unique_and_links_resolve(page):
    tags = Tags(page).tags
    names = [a["id"] for _, a in tags if "id" in a]
    assert len(names) == len(set(names))
    links = [a["href"][1:] for _, a in tags if a.get("href", "").startswith("#")]
    links += [a["clip-path"][5:-1] for _, a in tags if "clip-path" in a]
    labelled = [a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a]
    assert links
    assert {*links, *labelled} <= set(names)


def test_heading_levels_are_consecutive(page):
    tags = [tag for tag, _ in Tags(page).tags]
    assert [t for t in tags if re.fullmatch("h[1-6]", t)] == ["h1", *["h2"] * 7]
    assert [tags.count(t) for t in ("header", "main", "footer")] == [1, 1, 1]


def test_pictures_take_the_colours_of_the_page(page):
    for picture in pictures(page):
        styles = " ".join(e.get("style", "") for e in picture.iter())
        assert not {"#ffffff", *(c for c in re.findall("#[0-9a-f]{6}", styles))} & {
            *style.PALETTE,
            style.INK,
            style.MUTED,
            style.PALE,
        }
        assert set(re.findall(r"var\((--\w+)\)", styles)) <= set(re.findall(r"(--\w+):", page))


def test_the_colours_of_figures_are_those_of_the_plots(page):
    for k, colour in enumerate(style.PALETTE):
        assert re.search(rf"--c{k}: (#\w+)", page)[1] == colour


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(page, dark):
    colours = {}
    for block in re.findall(r":root \{(.*?)\}", page, re.DOTALL)[: 1 + dark]:
        colours |= dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    for ink in ("ink", "soft", "accent"):
        for ground in ("paper", "card"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5


def contrast(a, b):
    """The contrast of two colours (Web Content Accessibility Guidelines 2.2)."""

    def luminance(code):
        v = np.array([int(code[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) @ [
            0.2126,
            0.7152,
            0.0722,
        ]

    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_labels_in_scripts_without_a_font_are_text(tmp_path, vae):
    labels = np.array(["猫", "كلب", "한글", "$x$"])[Y % 4]
    page = written(tmp_path, vae, y=labels)
    words = [t.text for picture in pictures(page) for t in picture.iter("text")]
    assert {*labels} <= {*words}


def test_a_picture_of_noise_keeps_the_page_small():
    noise = np.random.default_rng(0).random((225, 3, 24, 24))
    figure = plots.pictures(noise, columns=15)
    assert 5e5 < len(as_picture(figure, "noise", "n").svg) < 1.6e6


# ------------------------------------------------------------------ live page


def live_line(page):
    return re.findall(r'<p id="live".*?</p>', page)


def test_without_a_live_page_a_hidden_placeholder_remains(page):
    assert live_line(page) == ['<p id="live" hidden></p>']


@pytest.mark.usefixtures("undrawn_report")
def test_a_page_shows_the_command_or_a_button(tmp_path, vae):
    evil = '<p id="live">x</p>'
    kwargs = {"title": evil, "notes": [evil], "y": np.array([evil, "a"])[Y % 2]}
    linked = written(tmp_path, vae, live="my studio.html", **kwargs)
    (button,) = live_line(linked)
    assert '<a class="button" href="my%20studio.html">Open the studio</a>' in button
    assert linked.index(button) < linked.index("<main>")
    other = written(tmp_path, vae, command="isthmus studio 'a & <b>'", **kwargs)
    assert "isthmus studio &#39;a &amp; &lt;b&gt;&#39;</code>" in live_line(other)[0]
    for name in ("other.html", "my studio.html", "my studio.html"):
        link_live(tmp_path / "r.html", name)
    assert (tmp_path / "r.html").read_text("utf-8") == linked
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_a_report_of_an_older_version_is_not_changed(tmp_path):
    old = tmp_path / "r.html"
    old.write_bytes(b"<h1>VAE</h1>\r\n<p>\xff</p>")
    before = old.read_bytes(), old.stat().st_mtime_ns
    link_live(old, "studio.html")
    assert (old.read_bytes(), old.stat().st_mtime_ns) == before
    with pytest.raises(FileNotFoundError):
        link_live(tmp_path / "none.html", "studio.html")


@pytest.mark.parametrize("live", ["javascript:alert(1)", '"><script>'])
def test_a_link_cannot_run_a_script(tmp_path, page, live):
    (tmp_path / "r.html").write_text(page, "utf-8")
    link_live(tmp_path / "r.html", live)
    page = (tmp_path / "r.html").read_text("utf-8")
    (link,) = re.findall(r'class="button" href="([^"]*)"', page)
    assert not re.match(r"\w+:", link)
    assert not Tags(page).open


@pytest.mark.usefixtures("undrawn_report")
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
    assert page.count("&lt;script&gt;") == 9  # the title is in the head, too
    assert not Tags(page).open


@pytest.mark.usefixtures("undrawn_report")
def test_figures_of_a_conditional_model_use_its_labels(tmp_path):
    labels = np.array(["<b>zero</b>", "one"])[(Y > 4).astype(int)]
    page = written(tmp_path, fitted(isthmus.ConditionalVAE, y=labels, n_components=2), y=labels)
    assert "decoded with label &lt;b&gt;zero&lt;/b&gt;" in page
    assert "an input of the model" in page
    written(tmp_path, fitted(isthmus.ConditionalVAE, y=labels, n_components=2), y=None)


@pytest.mark.usefixtures("undrawn_report")
def test_a_condition_of_numbers(tmp_path):
    y = np.stack([Y / 3, Y**2], axis=1)
    page = written(tmp_path, fitted(isthmus.ConditionalVAE, y=y, n_components=3), y=y)
    assert "Latent traversals" in page


@pytest.mark.usefixtures("undrawn_report")
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
    words = {t.text for picture in pictures(page) for t in picture.iter("text")}
    assert "mean radius" in words
    assert {"Generated rows", "Latent traversals"} <= set(headings(page))


def mixed():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    k = rng.integers(0, 3, 120)
    return pandas.DataFrame(
        {
            "age": 30 + 10 * k + rng.integers(0, 5, 120),
            "<b>tall</b>": k > 0,
            "動物": np.array(["<i>cat</i>", "$dog$", "鰻"])[k],
        }
    )


def rows_of(page):
    """Return the cells of each table of rows, line by line."""
    tables = re.findall(r'<table class="rows">(.*?)</table>', page, re.DOTALL)
    lines = [re.findall(r"<tr>.*?</tr>", t) for t in tables]
    return [[re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line) for line in t] for t in lines]


@pytest.mark.usefixtures("undrawn_report")
def test_a_mixed_table_is_shown_with_its_categories(tmp_path):
    frame = mixed()
    fit = fitted(isthmus.VAE, frame, None, n_components=2)
    page = written(tmp_path, fit, frame, None, notes=[f"remark {i}" for i in range(12)])
    assert "<summary>4 more</summary>" in page
    assert page.index("remark 7") < page.index("<summary>") < page.index("remark 8")
    assert "likelihoods: 1 gaussian-per-feature, 1 bernoulli, 1 categorical" in page
    given, made, moved = rows_of(page)
    names = ["column", "age", "&lt;b&gt;tall&lt;/b&gt;", "動物"]
    for table in (given, made, moved):
        assert [line[0] for line in table] == names
        assert len({*map(len, table)}) == 1
    assert {*made[3][1:]} <= {"&lt;i&gt;cat&lt;/i&gt;", "$dog$", "鰻"}
    assert {*made[2][1:]} <= {"True", "False"}
    ages = [int(age) for age in made[1][1:]]
    assert all(frame["age"].min() <= age <= frame["age"].max() for age in ages)
    assert len(moved[0]) == 3
    assert "decoded line" not in page


def test_reconstruction_errors_are_compared_with_guessing():
    frame = mixed()
    columns = Columns.learn(frame)
    X = columns.to_numbers(frame)
    same = reconstructed_rows(columns, X, X)
    share = np.unique(X[:, 2], return_counts=True)[1].max() / len(X)
    shown = [line[1] for line in same.lines]
    assert shown[0] == "error 0.00 sd"
    assert shown[2] == f"100% correct, guess {share:.0%}"
    assert not any("→" in cell for line in same.lines for cell in line)
    R = X.copy()
    R[:, 0] += X[:, 0].std()
    R[0] = X[0] + [1, 1 - 2 * X[0, 1], 0]
    X[1, 2] = np.nan
    other = reconstructed_rows(columns, X, R)
    assert re.match(r"error (1.00|0.99) sd", other.lines[0][1])
    assert "→" in other.lines[1][2]
    assert "missing" in other.lines[2][3]


@pytest.mark.usefixtures("undrawn_report")
def test_only_the_first_of_many_columns_are_shown(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({f"x{i}": X.reshape(len(X), -1)[:, i] for i in range(50)})
    page = written(tmp_path, fitted(isthmus.VAE, frame, None, n_components=3), frame, None)
    assert page.count("and 10 more columns") == 2
    assert all(len(table) == 41 for table in rows_of(page))


def test_three_colour_images_without_a_history(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32)).astype(np.uint8)
    fit = fitted(isthmus.VAE, pictures, None, n_components=2)
    fit[0].history_ = []
    page = written(tmp_path, fit, pictures[:3], None, summary=[], settings=None)
    assert "Loss curves" not in headings(page)
    assert "Settings" not in headings(page)
    assert len(page) < 5e6


def test_the_same_arguments_give_the_same_file(tmp_path, vae, page):
    assert written(tmp_path, vae) == page


@pytest.mark.usefixtures("undrawn_report")
def test_missing_folders_are_created_and_the_path_is_returned(tmp_path, vae):
    path = tmp_path / "new" / "folder" / "page.html"
    assert write_report(str(path), estimator=vae[0], X=X[:20], title="t") == path
    assert path.is_file()


@pytest.mark.usefixtures("undrawn_report")
def test_at_most_two_thousand_rows_are_used(tmp_path, vae, monkeypatch):
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
    "a\nb\x00\x1b",
    "<img src=x onerror=y>",
]


def test_names_of_columns_and_labels_are_text_everywhere(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    frame = pandas.DataFrame({name: rng.normal(size=60) for name in HOSTILE[:4]})
    frame[HOSTILE[5]] = np.array(HOSTILE)[rng.integers(0, 6, 60)]
    labels = np.array(HOSTILE)[rng.integers(0, 6, 60)]
    for cls, y, n_components in ((isthmus.VAE, None, 1), (isthmus.ConditionalVAE, labels, 3)):
        fit = fitted(cls, frame, y, n_components=n_components)
        settings = {"columns": list(frame.columns), HOSTILE[0]: dict.fromkeys(HOSTILE, HOSTILE[0])}
        page = written(
            tmp_path,
            fit,
            frame,
            labels,
            title=HOSTILE[0] + "\ud800",
            notes=HOSTILE,
            settings=settings,
        )
        assert "<script" not in page
        assert "onerror=y>" not in page
        assert {tag for tag, _ in Tags(page).tags} <= KNOWN_TAGS


KNOWN_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section"),
    *("h1", "h2", "p", "b", "ul", "li", "div", "figure", "table", "caption", "tbody"),
    *("tr", "th", "td", "thead", "figcaption", "details", "summary"),
    *("svg", "g", "defs", "path", "use", "text", "image", "clippath", "rect"),
}
