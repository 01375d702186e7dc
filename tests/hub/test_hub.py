import json
import shutil
import sys
from functools import partial
from io import BytesIO

import numpy as np
import pytest
from loopback_hub import TOKEN, loopback_hub
from PIL import Image
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.estimators import ESTIMATORS
from isthmus.hub import from_pretrained, pictures, push_to_hub, save_pretrained

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")

FAST = {"n_components": 2, "epochs": 2, "hidden": (16,), "random_state": 0}
FLAGS = ["--epochs", "2", "--hidden", "16", "--n-components", "2", "--random-state", "3", "--quiet"]
MODEL = {"config.json", "history.jsonl", "model.safetensors"}
X, Y = load_digits().images[:300] / 16, load_digits().target[:300]


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Write tiny images for figures, except in tests that use `drawn`: drawing is slow."""
    if "drawn" not in request.fixturenames:
        file = BytesIO()
        Image.new("L", (1, 1)).save(file, "png")
        monkeypatch.setattr(pictures, "_png", lambda figure: file.getvalue())


@pytest.fixture
def drawn():
    """Draw the figures of this test."""


@pytest.fixture(scope="module")
def vae():
    return isthmus.VAE(**FAST).fit(X)


@pytest.fixture(scope="module")
def plain():
    """Return a model without figures."""
    model = isthmus.Autoencoder(**FAST).fit(X)
    model.history_ = []
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a run of a table, in a folder whose name must not be published."""
    home = tmp_path_factory.mktemp("secret-home")
    rows = [f"{i},{i * 7 % 5},{['*a*', '<b>|', 'c'][i % 3]},{'uv'[i % 2]}" for i in range(90)]
    (home / "t.csv").write_text("\n".join(["a,b|<i>,kind,class", *rows]))
    command = ["fit", str(home / "t.csv"), "--label", "class", "--out", str(home / "run")]
    assert main([*command, *FLAGS]) == 0
    return home / "run"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with loopback_hub() as hub:
        files = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def names(folder):
    return {path.name for path in folder.iterdir()}


def head(folder):
    return huggingface_hub.ModelCard.load(folder / "README.md").data


# ------------------------------------------------------------------ to a folder and back


@pytest.mark.parametrize("name", ESTIMATORS)
def test_models_load_bit_for_bit_and_the_code_of_the_card_runs(name, tmp_path, monkeypatch):
    labels = np.array(["it's", "b"])[Y % 2]
    model = ESTIMATORS[name](**FAST).fit(X, labels)
    save_pretrained(model, tmp_path, repo_id="me/model")
    again = from_pretrained(tmp_path)
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    np.testing.assert_array_equal(again.reconstruct(X), model.reconstruct(X))
    assert again.history_ == model.history_
    monkeypatch.setattr(isthmus, "from_pretrained", lambda _: again)
    code = (tmp_path / "README.md").read_text().partition("```python\n")[2].partition("```")[0]
    found = {}
    exec(code, found)
    assert found["codes"].shape == (8, model.n_components_)


def test_no_rows_are_published_by_default(vae, tmp_path, drawn):
    save_pretrained(vae, tmp_path)
    shown = {"README.md", "samples.png", "latent-plane.png", "losses.png"}
    assert names(tmp_path) == MODEL | shown
    for picture in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(picture).convert("L")).std() > 5


def test_examples_are_published_on_request(vae, tmp_path):
    save_pretrained(vae, tmp_path, examples=X, labels=Y)
    assert names(tmp_path) > {"reconstructions.png", "latent-map.png"}
    card = (tmp_path / "README.md").read_text()
    for name in names(tmp_path):
        assert not name.endswith(".png") or f"]({name})" in card


def test_labels_without_examples_are_rejected(vae, tmp_path):
    with pytest.raises(ValueError, match="labels were given without examples"):
        save_pretrained(vae, tmp_path / "out", labels=Y)
    assert not (tmp_path / "out").exists()


def test_output_is_reproducible(vae, tmp_path, drawn):
    for name in "ab":
        save_pretrained(vae, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_figures_of_an_earlier_call_are_removed(vae, tmp_path):
    save_pretrained(vae, tmp_path, examples=X)
    (tmp_path / "notes.txt").write_text("mine")
    save_pretrained(vae, tmp_path)
    assert not names(tmp_path) & {"reconstructions.png", "latent-map.png"}
    assert names(tmp_path) > {"notes.txt", "samples.png"}


def test_files_of_an_unrelated_folder_are_kept(vae, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    save_pretrained(vae, tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"


def test_unknown_data_entry_is_rejected(vae, tmp_path):
    with pytest.raises(ValueError, match=r"unknown entry 'sha265', .* Did you mean 'sha256'\?"):
        save_pretrained(vae, tmp_path / "out", data={"sha265": "x"})
    assert not (tmp_path / "out").exists()


def test_a_run_is_never_overwritten(run):
    with pytest.raises(ValueError, match="folder of the run itself"):
        save_pretrained(run, run)


# ---------------------------------------------------------------------------- the card


def test_header_is_read_by_the_hub(vae, tmp_path):
    facts = {"held_out": {"ELBO (nats per example)": -30.5, "rows": 30}, "data": {"name": "digits"}}
    save_pretrained(vae, tmp_path, repo_id="me/x", license="mit", **facts)
    data = head(tmp_path)
    assert (data.library_name, data.license) == ("isthmus", "mit")
    assert data.pipeline_tag == "unconditional-image-generation"
    (result,) = data.eval_results
    assert (result.metric_name, result.metric_value) == ("ELBO (nats per example)", -30.5)
    assert result.dataset_name == "digits"


def test_card_contains_data_metrics_settings_and_seed(run, tmp_path):
    save_pretrained(run, tmp_path)
    card = (tmp_path / "README.md").read_text()
    config = json.loads((run / "config.json").read_text())
    for words in (config["data"]["sha256"], "90 × 3", "ELBO (nats per example)", "| seed | 3 |"):
        assert words in card
    for setting in config["params"]:
        assert f"| {setting} |" in card


def test_user_text_is_escaped(run, tmp_path):
    save_pretrained(run, tmp_path, data={"name": "<script>x</script>\n# big [a](b) www.c.d @me"})
    card = (tmp_path / "README.md").read_text().partition("\n# ")[2]
    assert r"b\|\<i\>" in card
    assert r"\*a\*" in card
    assert r"\<script\>x\</script\> \# big \[a\](b) www\.c.d \@me" in card
    assert "<script>" not in card
    assert head(tmp_path).library_name == "isthmus"


def test_card_of_a_conditional_model_describes_the_condition(tmp_path):
    labels = np.array(["cat", "a_b*"])[Y % 2]
    save_pretrained(isthmus.ConditionalVAE(**FAST).fit(X, labels), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert r"one of a_b\*, cat" in card
    assert "condition='a_b*'" in card


def test_custom_card_is_used_unchanged(vae, tmp_path):
    own = tmp_path / "mine.md"
    own.write_text("# Mine é")
    save_pretrained(vae, tmp_path / "out", card=own)
    assert (tmp_path / "out" / "README.md").read_text() == "# Mine é"
    own.write_text("")
    save_pretrained(vae, tmp_path / "out", card=own)
    assert not (tmp_path / "out" / "README.md").read_text()
    own.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="in UTF-8"):
        save_pretrained(vae, tmp_path / "other", card=own)


# --------------------------------------------------------------------- what is not published


def test_no_local_paths_are_published(run, tmp_path):
    assert b"secret-home" in (run / "config.json").read_bytes()
    assert b"secret-home" in (run / "report.html").read_bytes()
    out = save_pretrained(run, tmp_path, report=True)
    assert "report.html" in names(out)
    for path in out.iterdir():
        assert b"secret-home" not in path.read_bytes(), path.name
    assert from_pretrained(out).columns_ is not None  # with new checksums


def test_unknown_configuration_entries_are_not_published(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["sha256"]
    config["note"] = config["data"]["note"] = "for me alone"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    out = save_pretrained(tmp_path / "run", tmp_path / "out")
    assert "for me alone" not in (out / "config.json").read_text()


# ------------------------------------------------------------------------- over HTTP


def test_push_and_load_round_trip(plain, hub):
    assert push_to_hub(plain, "me/digits") == f"{hub.url}/me/digits"
    again = from_pretrained("me/digits")
    np.testing.assert_array_equal(again.transform(X), plain.transform(X))
    files, _ = hub.files("me/digits")
    assert set(files) > MODEL
    assert b"isthmus.from_pretrained('me/digits')" in files["README.md"]


def test_only_model_files_are_downloaded(plain, hub):
    push_to_hub(plain, "me/digits", private=True)
    assert hub.visibility == {"me/digits": "private"}
    hub.requests.clear()
    from_pretrained("me/digits")
    got = {path.rpartition("/")[2] for verb, path in hub.requests if "/resolve/" in path}
    assert got == MODEL


def test_private_push_to_a_public_repository_is_rejected(plain, hub):
    push_to_hub(plain, "me/digits")
    sent = len(hub.repos["me/digits"])
    with pytest.raises(ValueError, match="already exists and is public") as raised:
        push_to_hub(plain, "me/digits", private=True)
    one_line(raised)
    assert len(hub.repos["me/digits"]) == sent
    for _ in range(2):
        push_to_hub(plain, "me/hidden", private=True)


def test_push_removes_stale_figures_and_keeps_other_files(vae, hub):
    push_to_hub(vae, "me/digits", examples=X)
    hub.repos["me/digits"][-1]["notes.txt"] = b"mine"
    push_to_hub(vae, "me/digits")
    files, _ = hub.files("me/digits")
    assert "reconstructions.png" not in files
    assert files["notes.txt"] == b"mine"
    assert "samples.png" in files


def test_revision_selects_an_earlier_commit(plain, hub):
    push_to_hub(plain, "me/digits")
    first = hub.files("me/digits")[1]
    push_to_hub(isthmus.Autoencoder(**FAST | {"n_components": 3}).fit(X), "me/digits")
    assert from_pretrained("me/digits").n_components_ == 3
    assert from_pretrained("me/digits", revision=first).n_components_ == 2


def test_cache_works_offline(plain, hub, monkeypatch):
    push_to_hub(plain, "me/digits")
    from_pretrained("me/digits")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert from_pretrained("me/digits").n_components_ == 2
    assert from_pretrained("me/digits", local_files_only=True).n_components_ == 2
    with pytest.raises(OSError, match="not in the cache"):
        from_pretrained("me/other")


def test_other_models_are_rejected_before_their_weights_are_downloaded(hub):
    hub.commit("they/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"."})
    hub.commit("they/empty", {"README.md": b"hello"})
    with pytest.raises(ValueError, match="not the configuration of an isthmus model"):
        from_pretrained("they/bert")
    with pytest.raises(ValueError, match=r"not an isthmus model: it contains no config\.json"):
        from_pretrained("they/empty")
    assert not any(path.endswith("safetensors") for _, path in hub.requests)


def test_corrupt_download_is_rejected(plain, hub):
    push_to_hub(plain, "me/digits")
    files = hub.repos["me/digits"][-1]
    files["model.safetensors"] = files["model.safetensors"][:-1] + b"\x7f"
    with pytest.raises(ValueError, match="damaged"):
        from_pretrained("me/digits")


def test_class_must_match(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    assert isinstance(isthmus.VAE.from_pretrained(tmp_path), isthmus.VAE)
    with pytest.raises(ValueError, match=r"holds a VAE, not a BetaVAE"):
        isthmus.BetaVAE.from_pretrained(tmp_path)


# -------------------------------------------------------------------------------- errors


def one_line(raised):
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_hub_errors_are_one_line(plain, hub):
    push_to_hub(plain, "me/digits")
    with pytest.raises(OSError, match=r"folder me/nothing does not exist; on the Hub: ") as raised:
        from_pretrained("me/nothing")
    one_line(raised)
    with pytest.raises(OSError, match="has no revision 'v9'") as raised:
        from_pretrained("me/digits", revision="v9")
    one_line(raised)
    hub.gated.add("me/digits")
    with pytest.raises(OSError, match="gated: request access") as raised:
        from_pretrained("me/digits", cache_dir=None)
    one_line(raised)


def test_push_needs_a_token_with_write_access(plain, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(OSError, match="rights to write") as raised:
        push_to_hub(plain, "me/digits")
    one_line(raised)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent")
    with pytest.raises(OSError, match="needs a token"):
        push_to_hub(plain, "me/digits")
    assert hub.repos == {}


def test_unreachable_hub(plain, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="cannot be reached") as raised:
        push_to_hub(plain, "me/digits")
    one_line(raised)


@pytest.mark.parametrize("name", ["./no", "/no/where", "~/x", "a/b/c", "x y/z", "a\\b"])
def test_invalid_names_are_rejected_offline(name):
    with pytest.raises(ValueError, match=r"does not exist|invalid repo|expected a") as raised:
        from_pretrained(name)
    one_line(raised)


@pytest.mark.parametrize("name", ["digits", "me/x y", "a/b/c", "me/"])
def test_push_needs_owner_and_name(plain, name):
    with pytest.raises(ValueError, match=r"invalid rep"):
        push_to_hub(plain, name)


def test_local_folder_has_no_revisions(plain, tmp_path):
    plain.save(tmp_path)
    with pytest.raises(ValueError, match="has no revisions"):
        from_pretrained(tmp_path, revision="main")


def test_local_folder_needs_no_huggingface_hub(plain, tmp_path, monkeypatch):
    plain.save(tmp_path)
    for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert from_pretrained(tmp_path).n_components_ == 2
    for ask in (from_pretrained, partial(push_to_hub, plain), partial(save_pretrained, plain)):
        with pytest.raises(ImportError, match=r"pip install 'isthmus\[hub\]'"):
            ask("me/x")


# ---------------------------------------------------------------------- the command line


def test_push_a_run(run, hub, capsys):
    assert main(["push", str(run), "me/table", "--private", "--license", "mit"]) == 0
    assert f"published at {hub.url}/me/table" in capsys.readouterr().out
    assert from_pretrained("me/table").columns_ is not None


def test_dry_run(run, hub, tmp_path, capsys):
    flags = ["--dry-run", str(tmp_path / "look"), "--examples", "--with-report"]
    assert main(["push", str(run), "me/table", *flags]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert names(tmp_path / "look") > {"README.md", "report.html", "latent-map.png"}
    assert hub.requests == []
    assert main(["push", str(run), "me/table", *flags]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--card", "nowhere.md"], "card file nowhere.md does not exist"),
        (["--data", "digits"], "--examples"),
    ],
)
def test_command_errors_are_one_line(run, tmp_path, capsys, flags, words):
    out = tmp_path / "out"
    assert main(["push", str(run), "me/x", "--dry-run", str(out), *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert not out.exists()
