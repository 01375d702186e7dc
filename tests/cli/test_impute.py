"""The command `isthmus impute`."""

import csv
import re

import numpy as np
import pytest

from isthmus.cli import main


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("impute")
    rng = np.random.default_rng(0)
    a = rng.normal(size=120)
    columns = np.column_stack([a, 2 * a, rng.normal(size=120)])
    cells = [[f"{v:.3f}0" for v in row] for row in columns]
    for i in range(0, 120, 4):
        cells[i][i % 3] = ""
    lines = [["a", "kind", "b", "c"], *([x, "k", y, z] for x, y, z in cells)]
    (folder / "t.csv").write_text("\n".join(";".join(line) for line in lines))
    fit = ["fit", str(folder / "t.csv"), "--label", "kind", "--missing", "ignore", "--quiet"]
    assert main([*fit, "--epochs", "3", "--out", str(folder / "run")]) == 0
    return folder


def impute(folder, *words):
    return main(["impute", str(folder / "run"), str(folder / "t.csv"), "--label", "kind", *words])


def test_only_empty_cells_change(table):
    out = table / "full.csv"
    assert impute(table, "--out", str(out), "--draws", "5") == 0
    before = [line.split(";") for line in (table / "t.csv").read_text().splitlines()]
    after = list(csv.reader(out.read_text().splitlines()))
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert all(
            n == o or (o == "" and np.isfinite(float(n))) for o, n in zip(old, new, strict=True)
        )
        assert "" not in new


def test_an_existing_file_is_replaced_only_with_force(table, capsys):
    out = table / "mine.csv"
    out.write_text("mine")
    assert impute(table, "--out", str(out)) == 2
    assert "--force" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert impute(table, "--out", str(out), "--force", "--draws", "2") == 0


def test_uncertainty_is_printed_for_each_column(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["income,pet", *(f"{1e4 * rng.normal():.0f},{p}" for p in rng.choice(["a", "b"], 99))]
    lines[5], lines[7] = ",a", "12,"
    (tmp_path / "t.csv").write_text("\n".join(lines))
    words = [str(tmp_path / "run"), str(tmp_path / "t.csv")]
    fit = ["fit", words[1], "--missing", "ignore", "--quiet", "--epochs", "5", "--out", words[0]]
    assert main(fit) == 0
    assert main(["impute", *words, "--draws", "40"]) == 0
    shown = capsys.readouterr().out
    (income,) = re.findall(r"income: median standard deviation .* ([\d,.]+) ", shown)
    assert 5e3 < float(income.replace(",", "")) < 2e4
    (pet,) = re.findall(r"pet: expected share of wrong values .* ([\d.]+)%", shown)
    assert 20 < float(pet) < 60


def test_a_column_without_values_stays_empty(tmp_path, capsys):
    lines = ["a,none,b", *(f"{i % 7},,{'' if i % 5 == 0 else i % 3}.5" for i in range(60))]
    (tmp_path / "t.csv").write_text("\n".join(lines).replace(",.5", ","))
    words = [str(tmp_path / "run"), str(tmp_path / "t.csv")]
    fit = ["fit", words[1], "--missing", "ignore", "--quiet", "--epochs", "2", "--out", words[0]]
    assert main(fit) == 0
    capsys.readouterr()
    out = tmp_path / "full.csv"
    assert main(["impute", *words, "--draws", "2", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "'none' had no values in training" in shown.err
    assert re.search(r"values imputed .* 12 ", shown.out)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {row["none"] for row in rows} == {""}
    assert all(row["b"] for row in rows)


def test_images_are_inpainted_under_a_mask(tmp_path):
    mask = np.zeros((8, 8), bool)
    mask[4:] = True
    np.save(tmp_path / "mask.npy", mask)
    run = str(tmp_path / "run")
    assert main(["fit", "digits", "--epochs", "1", "--quiet", "--out", run]) == 0
    words = ["--mask", str(tmp_path / "mask.npy"), "--rows", "5", "--draws", "2"]
    assert main(["impute", run, "digits", *words]) == 0
    with np.load(tmp_path / "run" / "digits-imputed.npz") as made:
        assert made["X"].shape == made["std"].shape == (5, 8, 8)
        assert made["missing"][:, 4:].all()
        assert not made["std"][:, :4].any()
    assert (tmp_path / "run" / "digits-imputed.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mask", "none.npy"], "no such file"),
        (["--out", "x.txt"], "must end in .csv"),
        (["--draws", "0"], "n_draws must be at least 1"),
        (["--out", "nowhere/x.csv"], "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line(table, capsys, words, message):
    assert impute(table, *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_mask_of_another_shape_is_one_line(table, capsys):
    np.save(table / "wrong.npy", np.zeros((2, 2), bool))
    assert impute(table, "--mask", str(table / "wrong.npy")) == 2
    assert "mask must hold True and False in the shape" in capsys.readouterr().err
