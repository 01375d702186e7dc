import json
import shutil
import sys
from functools import partial

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import isthmus
from isthmus.cli import main
from isthmus.estimators import ESTIMATORS
from isthmus.hub import from_pretrained, push_to_hub, save_pretrained
from loopback_hub import TOKEN, loopback_hub

huggingface_hub = pytest.importorskip("huggingface_hub")
constants = pytest.importorskip("huggingface_hub.constants")

FAST = {"n_components": 2, "epochs": 2, "hidden": (16,), "random_state": 0}
FLAGS = ["--epochs", "2", "--hidden", "16", "--n-components", "2", "--random-state", "3", "--quiet"]
MODEL = {"config.json", "history.jsonl", "model.safetensors"}
X, Y = load_digits().images[:300] / 16, load_digits().target[:300]


@pytest.fixture(scope="module")
def vae():
    return isthmus.VAE(**FAST).fit(X)


@pytest.fixture(scope="module")
def plain():
    """A model of which there is nothing to draw."""
    model = isthmus.Autoencoder(**FAST).fit(X)
    model.history_ = []
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a table in a folder whose name must not be told."""
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
def test_every_model_comes_back_to_the_bit_and_the_lines_of_its_card_run(
    name, tmp_path, monkeypatch
):
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


def test_nothing_but_pictures_of_the_prior_and_of_training_is_shown(vae, tmp_path):
    save_pretrained(vae, tmp_path)
    shown = {"README.md", "samples.png", "latent-plane.png", "losses.png"}
    assert names(tmp_path) == MODEL | shown
    for picture in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(picture).convert("L")).std() > 5


def test_examples_are_shown_where_they_are_given(vae, tmp_path):
    save_pretrained(vae, tmp_path, examples=X, labels=Y)
    assert names(tmp_path) > {"reconstructions.png", "latent-map.png"}
    card = (tmp_path / "README.md").read_text()
    for name in names(tmp_path):
        assert not name.endswith(".png") or f"]({name})" in card


def test_labels_alone_are_refused_and_nothing_is_written(vae, tmp_path):
    with pytest.raises(ValueError, match="labels are those of examples"):
        save_pretrained(vae, tmp_path / "out", labels=Y)
    assert not (tmp_path / "out").exists()


def test_the_same_model_gives_the_same_bytes(vae, tmp_path):
    for name in "ab":
        save_pretrained(vae, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_pictures_of_before_go_where_rows_are_no_longer_shown(vae, tmp_path):
    save_pretrained(vae, tmp_path, examples=X)
    (tmp_path / "notes.txt").write_text("mine")
    save_pretrained(vae, tmp_path)
    assert not names(tmp_path) & {"reconstructions.png", "latent-map.png"}
    assert names(tmp_path) > {"notes.txt", "samples.png"}


def test_a_folder_that_was_not_published_loses_nothing(vae, tmp_path):
    (tmp_path / "report.html").write_text("mine")
    save_pretrained(vae, tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"


def test_what_a_card_does_not_say_of_data_is_named(vae, tmp_path):
    with pytest.raises(ValueError, match=r"'sha265' is none of .* Did you mean 'sha256'\?"):
        save_pretrained(vae, tmp_path / "out", data={"sha265": "x"})
    assert not (tmp_path / "out").exists()


def test_a_run_is_never_written_over(run):
    with pytest.raises(ValueError, match="the run itself"):
        save_pretrained(run, run)


# ---------------------------------------------------------------------------- the card


def test_the_head_is_what_the_hub_reads(vae, tmp_path):
    told = {"held_out": {"ELBO (nats per example)": -30.5, "rows": 30}, "data": {"name": "digits"}}
    save_pretrained(vae, tmp_path, repo_id="me/x", license="mit", **told)
    data = head(tmp_path)
    assert (data.library_name, data.license) == ("isthmus", "mit")
    assert data.pipeline_tag == "unconditional-image-generation"
    (result,) = data.eval_results
    assert (result.metric_name, result.metric_value) == ("ELBO (nats per example)", -30.5)
    assert result.dataset_name == "digits"


def test_the_card_tells_data_numbers_settings_and_seed_of_a_run(run, tmp_path):
    save_pretrained(run, tmp_path)
    card = (tmp_path / "README.md").read_text()
    config = json.loads((run / "config.json").read_text())
    for words in (config["data"]["sha256"], "90 × 3", "ELBO (nats per example)", "| seed | 3 |"):
        assert words in card
    for setting in config["params"]:
        assert f"| {setting} |" in card


def test_what_users_wrote_is_shown_and_is_no_markup(run, tmp_path):
    save_pretrained(run, tmp_path, data={"name": "<script>x</script>\n# big [a](b) www.c.d @me"})
    card = (tmp_path / "README.md").read_text().partition("\n# ")[2]
    assert r"b\|\<i\>" in card
    assert r"\*a\*" in card
    assert r"\<script\>x\</script\> \# big \[a\](b) www\.c.d \@me" in card
    assert "<script>" not in card
    assert head(tmp_path).library_name == "isthmus"


def test_a_conditional_card_says_what_is_told(tmp_path):
    labels = np.array(["cat", "a_b*"])[Y % 2]
    save_pretrained(isthmus.ConditionalVAE(**FAST).fit(X, labels), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert r"one of a_b\*, cat" in card
    assert "condition='a_b*'" in card


def test_a_card_of_ones_own_is_taken_as_it_is(vae, tmp_path):
    own = tmp_path / "mine.md"
    own.write_text("# Mine é")
    save_pretrained(vae, tmp_path / "out", card=own)
    assert (tmp_path / "out" / "README.md").read_text() == "# Mine é"
    own.write_text("")
    save_pretrained(vae, tmp_path / "out", card=own)
    assert not (tmp_path / "out" / "README.md").read_text()
    own.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="as UTF-8"):
        save_pretrained(vae, tmp_path / "other", card=own)


# --------------------------------------------------------------------- what is not told


def test_no_byte_tells_where_run_and_data_lie(run, tmp_path):
    assert b"secret-home" in (run / "config.json").read_bytes()
    assert b"secret-home" in (run / "report.html").read_bytes()
    out = save_pretrained(run, tmp_path, report=True)
    assert "report.html" in names(out)
    for path in out.iterdir():
        assert b"secret-home" not in path.read_bytes(), path.name
    assert from_pretrained(out).columns_ is not None  # checksums were made anew


def test_unknown_entries_of_a_configuration_stay_here(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["sha256"]
    config["note"] = config["data"]["note"] = "for me alone"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    out = save_pretrained(tmp_path / "run", tmp_path / "out")
    assert "for me alone" not in (out / "config.json").read_text()


# ------------------------------------------------------------------------- over the wire


def test_a_model_goes_up_and_comes_down_to_the_bit(plain, hub):
    assert push_to_hub(plain, "me/digits") == f"{hub.url}/me/digits"
    again = from_pretrained("me/digits")
    np.testing.assert_array_equal(again.transform(X), plain.transform(X))
    files, _ = hub.files("me/digits")
    assert set(files) > MODEL
    assert b"isthmus.from_pretrained('me/digits')" in files["README.md"]


def test_only_what_is_read_is_downloaded(plain, hub):
    push_to_hub(plain, "me/digits", private=True)
    assert hub.visibility == {"me/digits": "private"}
    hub.asked.clear()
    from_pretrained("me/digits")
    got = {path.rpartition("/")[2] for verb, path in hub.asked if "/resolve/" in path}
    assert got == MODEL


def test_what_is_to_be_private_is_not_sent_to_a_public_repository(plain, hub):
    push_to_hub(plain, "me/digits")
    sent = len(hub.repos["me/digits"])
    with pytest.raises(ValueError, match="is there already, and is public") as raised:
        push_to_hub(plain, "me/digits", private=True)
    one_line(raised)
    assert len(hub.repos["me/digits"]) == sent
    for _ in range(2):
        push_to_hub(plain, "me/hidden", private=True)


def test_pictures_of_an_earlier_push_are_removed_and_other_files_stay(vae, hub):
    push_to_hub(vae, "me/digits", examples=X)
    hub.repos["me/digits"][-1]["notes.txt"] = b"mine"
    push_to_hub(vae, "me/digits")
    files, _ = hub.files("me/digits")
    assert "reconstructions.png" not in files
    assert files["notes.txt"] == b"mine"
    assert "samples.png" in files


def test_a_revision_is_a_commit_of_before(plain, hub):
    push_to_hub(plain, "me/digits")
    first = hub.files("me/digits")[1]
    push_to_hub(isthmus.Autoencoder(**FAST | {"n_components": 3}).fit(X), "me/digits")
    assert from_pretrained("me/digits").n_components_ == 3
    assert from_pretrained("me/digits", revision=first).n_components_ == 2


def test_what_was_downloaded_is_there_without_a_network(plain, hub, monkeypatch):
    push_to_hub(plain, "me/digits")
    from_pretrained("me/digits")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert from_pretrained("me/digits").n_components_ == 2
    assert from_pretrained("me/digits", local_files_only=True).n_components_ == 2
    with pytest.raises(OSError, match="not in the cache"):
        from_pretrained("me/other")


def test_models_of_others_are_refused_before_their_weights_come(hub):
    hub.commit("they/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"."})
    hub.commit("they/empty", {"README.md": b"hello"})
    with pytest.raises(ValueError, match="not the configuration of an isthmus model"):
        from_pretrained("they/bert")
    with pytest.raises(ValueError, match=r"no model of isthmus: there is no config\.json"):
        from_pretrained("they/empty")
    assert not any(path.endswith("safetensors") for _, path in hub.asked)


def test_bytes_that_changed_on_the_way_are_refused(plain, hub):
    push_to_hub(plain, "me/digits")
    files = hub.repos["me/digits"][-1]
    files["model.safetensors"] = files["model.safetensors"][:-1] + b"\x7f"
    with pytest.raises(ValueError, match="damaged"):
        from_pretrained("me/digits")


def test_the_class_asked_for_must_be_the_class_that_is_there(vae, tmp_path):
    vae.save_pretrained(tmp_path)
    assert isinstance(isthmus.VAE.from_pretrained(tmp_path), isthmus.VAE)
    with pytest.raises(ValueError, match=r"holds a VAE, not a BetaVAE"):
        isthmus.BetaVAE.from_pretrained(tmp_path)


# -------------------------------------------------------------------------------- errors


def one_line(raised):
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_the_hub_refuses_is_said_in_one_line(plain, hub):
    push_to_hub(plain, "me/digits")
    with pytest.raises(OSError, match=r"no folder me/nothing here; .*not on") as raised:
        from_pretrained("me/nothing")
    one_line(raised)
    with pytest.raises(OSError, match="has no revision 'v9'") as raised:
        from_pretrained("me/digits", revision="v9")
    one_line(raised)
    hub.gated.add("me/digits")
    with pytest.raises(OSError, match="gated: ask for access") as raised:
        from_pretrained("me/digits", cache_dir=None)
    one_line(raised)


def test_without_a_token_or_the_right_to_write_nothing_is_made(plain, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(OSError, match="rights to write") as raised:
        push_to_hub(plain, "me/digits")
    one_line(raised)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "/nonexistent")
    with pytest.raises(OSError, match="needs a token"):
        push_to_hub(plain, "me/digits")
    assert hub.repos == {}


def test_a_hub_out_of_reach_is_said(plain, hub, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="out of reach") as raised:
        push_to_hub(plain, "me/digits")
    one_line(raised)


@pytest.mark.parametrize("name", ["./no", "/no/where", "~/x", "a/b/c", "x y/z", "a\\b"])
def test_names_that_are_none_are_said_without_a_network(name):
    with pytest.raises(ValueError, match=r"no folder|no name") as raised:
        from_pretrained(name)
    one_line(raised)


@pytest.mark.parametrize("name", ["digits", "me/x y", "a/b/c", "me/"])
def test_push_needs_an_owner_and_a_name(plain, name):
    with pytest.raises(ValueError, match=r"whose it is|no name"):
        push_to_hub(plain, name)


def test_a_folder_has_no_revisions(plain, tmp_path):
    plain.save(tmp_path)
    with pytest.raises(ValueError, match="no revisions"):
        from_pretrained(tmp_path, revision="main")


def test_a_folder_is_read_without_huggingface_hub(plain, tmp_path, monkeypatch):
    plain.save(tmp_path)
    for name in [name for name in sys.modules if name.startswith("huggingface_hub")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert from_pretrained(tmp_path).n_components_ == 2
    for ask in (from_pretrained, partial(push_to_hub, plain), partial(save_pretrained, plain)):
        with pytest.raises(ImportError, match=r"pip install 'isthmus\[hub\]'"):
            ask("me/x")


# ---------------------------------------------------------------------- the command line


def test_a_run_is_pushed(run, hub, capsys):
    assert main(["push", str(run), "me/table", "--private", "--license", "mit"]) == 0
    assert f"published at {hub.url}/me/table" in capsys.readouterr().out
    assert from_pretrained("me/table").columns_ is not None


def test_a_dry_run_sends_nothing(run, hub, tmp_path, capsys):
    flags = ["--dry-run", str(tmp_path / "look"), "--examples", "--with-report"]
    assert main(["push", str(run), "me/table", *flags]) == 0
    assert "nothing was sent" in capsys.readouterr().out
    assert names(tmp_path / "look") > {"README.md", "report.html", "latent-map.png"}
    assert hub.asked == []
    assert main(["push", str(run), "me/table", *flags]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--card", "nowhere.md"], "there is no card"),
        (["--data", "digits"], "--examples"),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(run, tmp_path, capsys, flags, words):
    out = tmp_path / "out"
    assert main(["push", str(run), "me/x", "--dry-run", str(out), *flags]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert not out.exists()
