import argparse
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import isthmus
from isthmus.cli import main
from isthmus.cli._options import field_groups, fields_given, flag_of
from isthmus.cli._parser import COMMANDS, _module, make_parser
from isthmus.cli.fit import _model
from isthmus.estimators import ESTIMATORS
from isthmus.models.params import params_of, setting_text
from isthmus.models.specs import SPECS


def test_fit_writes_model_history_configuration_and_report(run):
    assert sorted(p.name for p in run.iterdir()) == [
        "config.json",
        "history.jsonl",
        "model.safetensors",
        "report.html",
        "split.safetensors",
    ]
    config = json.loads((run / "config.json").read_text())
    assert config["params"]["random_state"] == 3
    assert config["data"]["name"] == "digits"
    assert len(config["data"]["sha256"]) == 64
    assert config["held_out"]["rows"] == 179
    assert len((run / "history.jsonl").read_text().splitlines()) == 2
    assert (run / "report.html").stat().st_size > 10_000


def test_the_run_loads_as_a_model(run):
    model = isthmus.load(run)
    assert model.sample(2, random_state=0).shape == (2, 8, 8)


def test_a_second_fit_with_the_same_seed_writes_the_same_model_and_prints_nothing(
    run, fast, tmp_path, capsys
):
    out, home = str(tmp_path / "b"), ["--data-home", str(tmp_path)]
    assert main(["fit", "digits", "--out", out, "--quiet", *fast, *home]) == 0
    assert capsys.readouterr() == ("", "")
    for folder in (run, tmp_path / "b"):
        assert (folder / "model.safetensors").read_bytes() == (
            run / "model.safetensors"
        ).read_bytes()
        data = json.loads((folder / "config.json").read_text())["data"]
        assert set(data) == {"name", "shape", "dtype", "sha256"}  # no path of a known data set


def test_info_describes_the_run(run, capsys):
    assert main(["info", str(run)]) == 0
    out = capsys.readouterr().out
    for words in ("digits", "8 x 8", "greyness 0.49", "n_components", "ELBO"):
        assert words in out


def test_the_summary_and_the_next_commands_are_shown(fast, tmp_path, capsys):
    assert main(["fit", "digits", "--out", str(tmp_path / "r"), *fast]) == 0
    out, err = capsys.readouterr()
    assert "ELBO (nats per example)" in out
    assert "report.html" in out
    assert "isthmus info" in out
    assert "epoch 2/2" in err


@pytest.mark.parametrize("model", sorted({*SPECS} - {"vae", "conditional-vae"}))  # fitted above
def test_every_model_fits_from_the_command_line(model, fast, tmp_path):
    assert main(["fit", "digits", "--model", model, "--out", str(tmp_path), "--quiet", *fast]) == 0
    assert "Reconstructions" in (tmp_path / "report.html").read_text()
    assert isinstance(isthmus.load(tmp_path), ESTIMATORS[model])


def test_every_field_of_every_model_is_a_flag(capsys):
    assert main(["fit", "--help"]) == 0
    text = capsys.readouterr().out
    for spec in SPECS.values():
        for name in params_of(spec):
            assert f"--{name.replace('_', '-')}" in text


def test_flags_are_grouped_by_the_models_that_have_them():
    groups = field_groups()
    names = [p.name for group in groups.values() for p in group]
    assert len(names) == len(set(names))
    assert [p.name for p in groups["only beta-vae"]] == ["beta", "capacity", "decomposed"]


def test_fit_on_a_path_with_labels_records_the_path_in_the_configuration_only(
    fast, tmp_path, monkeypatch
):
    home = tmp_path / "a home"
    home.mkdir()
    rows = [f"{i},{i * 7 % 5},{'uv'[i % 2]}" for i in range(60)]
    (home / "t.csv").write_text("\n".join(["a,b,kind", *rows]))
    monkeypatch.chdir(home)
    command = ["fit", "t.csv", "--label", "kind", "--model", "conditional-vae"]
    assert main([*command, "--out", "../r", "--quiet", *fast]) == 0
    assert list(isthmus.load(tmp_path / "r").classes_) == ["u", "v"]
    data = json.loads((tmp_path / "r" / "config.json").read_text())["data"]
    assert data["source"] == str(home / "t.csv")
    assert data["label"] == "kind"
    assert "size" not in data
    others = [p for p in (tmp_path / "r").iterdir() if p.name != "config.json"]
    assert not any(b"a home" in p.read_bytes() for p in others)


def complaint(arguments, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "digts"], "Did you mean 'digits'?"),
        (["fit", "digits", "--model", "vea"], "Did you mean 'vae'?"),
        (["fit", "digits", "--epochs", "0"], "epochs must be an integer of at least 1"),
        (
            ["fit", "digits", "--epochs", "x"],
            "--epochs: expected an integer of at least 1 or none, got",
        ),
        (["fit", "digits", "--hidden", "4y"], "such as 400x200, got '4y'"),
        (["fit", "digits", "--n-components", "0"], "n_components must be"),
        (["fit", "digits", "--beta", "3"], "it belongs to beta-vae"),
        (["fit", "digits", "--likelihood", "bernouli"], "Did you mean 'bernoulli'?"),
        (["fit", "digits", "--device", "warp"], "device must be"),
        (["fit", "digits", "--model", "conditional-vae", "--condition-dropout", "2"], "below 1"),
        (["fit", "digits", "--size", "3"], "size"),
        (["fit", "digits", "--frobnicate"], "isthmus fit: unknown option '--frobnicate'"),
        (["fit", "digits", "--hiden", "8"], "Did you mean '--hidden'? See `isthmus fit --help`"),
        (["traverse", "--stps", "5", "."], "isthmus traverse: unknown option '--stps'. Did you"),
        (["fit", "digits", "--prior", "mixtur"], "Did you mean 'mixture'? Choose from: standard"),
        (["fit", "digits", "extra"], "isthmus fit: unexpected argument 'extra'"),
        (["fit", "digits", "--epoch", "3"], "Did you mean '--epochs'?"),  # no abbreviations
        (["info", "nowhere"], "isthmus info: argument RUN: there is no folder 'nowhere'"),
        (["info", "."], "RUN: . holds no saved model: it has no config.json. Name a run first"),
        (["detect", "digits"], "RUN: 'digits' is a dataset, not the folder of a run"),
        (["transform", "t.csv", "out"], "RUN: 't.csv' is a file, not the folder of a run"),
        (["fit", "digits", "-epochs", "3"], "unknown option '-epochs'. Did you mean '--epochs'?"),
        (["fit", "digits", "-hidden", "3"], "unknown option '-hidden'. Did you mean '--hidden'?"),
        (["fit", "digits", "--device", "gpu"], "Did you mean 'cuda'?"),
        (["fit", "digits", "--model", "beta-veae"], "Did you mean 'beta-vae'?"),
        (["tune", "digits", "--metric", "scor"], "Did you mean 'score'?"),
        (["tune", "digits", "--grid", "hiden=3"], "no setting 'hiden'. Did you mean 'hidden'?"),
        (["tune", "digits", "--grid", "beta=3"], "it belongs to beta-vae"),
        (["fti", "digits"], "isthmus: unknown command 'fti'. Did you mean 'fit'?"),
        (["--frobnicate", "fit", "digits"], "isthmus: unknown option '--frobnicate'"),
        ([], "COMMAND"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("a\n1\n")
    assert words in complaint(arguments, capsys)
    assert not (tmp_path / "runs").exists()


def test_runs_are_proposed_if_the_run_is_missing(tmp_path, monkeypatch, capsys):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert "Name a run first, such as runs/mine." in complaint(["search", "17"], capsys)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--model", "VAE"], {"model": "vae"}),
        (["--model", "bvae"], {"model": "beta-vae"}),
        (["--model", "BetaVAE"], {"model": "beta-vae"}),
        (["--model", "denoising_autoencoder"], {"model": "denoising"}),
        (["--prior", "Mixture"], {"prior": "mixture"}),
        (["--posterior-family", "full_normal"], {"posterior_family": "full-normal"}),
        (["--hidden", "400x200"], {"hidden": (400, 200)}),
        (["--hidden", "400,200"], {"hidden": (400, 200)}),
        (["--hidden", "400, 200"], {"hidden": (400, 200)}),
        (["--hidden", "400", "200"], {"hidden": (400, 200)}),
        (["--hidden", "none"], {"hidden": ()}),
        (["--hidden"], {"hidden": ()}),
    ],
)
def test_values_are_understood_in_other_spellings(flags, expected):
    arguments = make_parser().parse_args(["fit", "digits", *flags])
    assert fields_given(arguments) | {"model": arguments.model} == {"model": "vae"} | expected


def test_help_states_the_defaults_of_the_command_line(capsys):
    assert main(["fit", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    arguments = make_parser().parse_args(["fit", "digits"])
    values = _model(arguments).build(None, None).get_params()
    for name, p in params_of(SPECS["vae"]).items():
        if name != "warm_start" and p.default is not None:
            about = (
                text.partition(f" {flag_of(name)} ")[2] or text.partition(f"{flag_of(name)},")[2]
            )
            about = about.partition("(default: ")[2].partition(")")[0]
            is_flag, value = isinstance(values[name], bool), values[name]
            shown = ("no", "yes")[value] if is_flag else setting_text(value)
            assert about == shown, name


def test_each_default_of_an_argument_is_in_its_help():
    for command in COMMANDS:
        for names, settings, _ in _module(command).COMMAND.arguments:
            if settings.get("default") not in (None, "", [], argparse.SUPPRESS):
                assert "(default: " in settings["help"], (command, names)


def test_a_mistyped_run_folder_is_suggested(run, capsys):
    message = complaint(["info", str(run.parent / "digts")], capsys)
    assert f"there is no folder '{run.parent}/digts'. Did you mean '{run}'?" in message


def test_invalid_data_are_reported_in_one_line_and_create_no_folder(tmp_path, capsys):
    bad = np.ones((20, 3))
    bad[4, 1] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    out = tmp_path / "r"
    message = complaint(["fit", str(tmp_path / "bad.npy"), "--out", str(out), "--quiet"], capsys)
    assert "NaN" in message
    assert not out.exists()


def test_an_existing_run_is_replaced_only_with_force(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "r")
    command = ["fit", "digits", "--out", str(tmp_path / "r"), "--epochs", "1", "--hidden"]
    assert "--force" in complaint(command, capsys)
    assert isthmus.load(tmp_path / "r").hidden == (16,)
    assert main([*command, "--force", "--quiet"]) == 0
    assert isthmus.load(tmp_path / "r").hidden == ()  # --hidden without a number: a linear model


def test_force_does_not_replace_a_folder_that_is_not_a_run(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("dear")
    assert "does not hold a run" in complaint(
        ["fit", "digits", "--out", str(tmp_path), "--force"], capsys
    )
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_an_output_folder_that_cannot_be_created_is_reported(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "cannot" in complaint(["fit", "digits", "--out", str(tmp_path / "file" / "r")], capsys)
    assert "is a file" in complaint(["fit", "digits", "--out", str(tmp_path / "file")], capsys)


def test_ctrl_c_saves_the_best_model_so_far(tmp_path, monkeypatch, capsys):
    from isthmus.training.sample_history import SampleRecorder

    def interrupt(self, trainer, record):
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(SampleRecorder, "on_epoch", interrupt)
    command = ["fit", "digits", "--epochs", "50", "--hidden", "16", "--out", str(tmp_path / "r")]
    assert main(command) == 130
    assert "are kept" in capsys.readouterr().err
    assert isthmus.load(tmp_path / "r").n_iter_ == 3


def test_help_does_not_import_torch_numpy_or_scikit_learn():
    code = (
        "import sys; from isthmus.cli import main; main(['fit', '--help']); "
        "sys.exit(bool({'torch', 'sklearn', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0


def test_python_dash_m_is_the_same_command():
    done = subprocess.run(
        [sys.executable, "-m", "isthmus", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.strip() == f"isthmus {isthmus.__version__}"


def test_evaluate_prints_a_table_and_writes_json(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("isthmus.evaluation.model_evaluation.AIS_ROWS", 1)
    out = tmp_path / "numbers.json"
    command = ["evaluate", str(run), "digits", "--rows", "200", "--samples", "20"]
    assert main([*command, "--annealed", "--quality", "codes", "--json", str(out)]) == 0
    table = capsys.readouterr().out
    numbers = json.loads(out.read_text())["numbers"]
    for words in (
        "ELBO",
        "bits per dimension",
        "annealed",
        "components in use",
        "samples, in codes",
    ):
        assert words in table
        assert any(words in name for name in numbers)
    assert numbers["rows"] == 200
    assert numbers["log-likelihood, 20 importance samples (nats)"] > numbers["ELBO (nats)"] - 0.2


@pytest.mark.slow
def test_evaluate_measures_disentanglement_if_factors_are_known(fast, tmp_path, capsys):
    folder = str(tmp_path / "s")
    assert (
        main(["fit", "sprites", "--out", folder, "--quiet", "--model", "autoencoder", *fast]) == 0
    )
    assert main(["evaluate", folder, "sprites", "--rows", "500"]) == 0
    assert "MIG" in capsys.readouterr().out


def test_evaluate_reports_mistakes(run, tmp_path, capsys):
    np.save(tmp_path / "f.npy", np.zeros((3, 2), int))
    factors = ["--factors", str(tmp_path / "f.npy")]
    assert "3 rows" in complaint(["evaluate", str(run), "digits", *factors], capsys)
    assert "at least 1" in complaint(["evaluate", str(run), "digits", "--samples", "0"], capsys)
    np.save(tmp_path / "other.npy", np.zeros((5, 3)))
    assert "3 features" in complaint(["evaluate", str(run), str(tmp_path / "other.npy")], capsys)


def test_a_table_with_gaps_is_fitted_and_evaluated(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3)).round(3).astype(str)
    rows[rng.random(rows.shape) < 0.2] = ""
    table = tmp_path / "gaps.csv"
    table.write_text("\n".join(["a,b,c", *map(",".join, rows)]))
    run = ["--epochs", "2", "--n-components", "2", "--out", str(tmp_path / "run")]
    assert main(["fit", str(table), *run]) == 2
    assert "missing" in capsys.readouterr().err
    assert main(["fit", str(table), "--missing", "ignore", *run]) == 0
    assert f"isthmus evaluate {tmp_path / 'run'} {table}" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "run"), str(table), "--samples", "20"]) == 0
    numbers = json.loads((tmp_path / "run" / "evaluation.json").read_text())["numbers"]
    assert np.isfinite(list(numbers.values())).all()
