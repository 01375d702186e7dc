"""The examples run, and what they print is true."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from sklearn.datasets import load_wine

from isthmus import ConditionalVAE
from isthmus.models import specs
from isthmus.registry import build_model, build_objective

EXAMPLES = Path(__file__).parent.parent / "examples"
ELSEWHERE = {"ray_encode", "spark_encode"}  # run by test_ray_spark.py
NEEDS = {
    "lightning_module": "lightning",
    "own_loop": "torch",
    "pyod_users": "pyod",
    "skorch_net": "skorch",
}


def run(name, capsys):
    """Run an example as a script; return what it printed."""
    pytest.importorskip(NEEDS[name])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def numbers(label, text):
    """Return the numbers that follow a label."""
    return [float(n) for n in re.findall(rf"{label}\D*?(-?\d+(?:\.\d+)?)", text)]


def test_every_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*NEEDS, *ELSEWHERE}


@pytest.mark.parametrize(
    "name",
    ["own_loop", pytest.param("lightning_module", marks=pytest.mark.slow)],
)
def test_other_loops_reach_the_loss_of_fit(name, capsys):
    theirs, ours = numbers("ELBO", run(name, capsys))
    assert theirs == pytest.approx(ours, rel=0.01)


@pytest.mark.slow
def test_skorch_searches_and_classifies(capsys):
    text = run("skorch_net", capsys)
    assert "'criterion__beta': 1.0, 'module__n_components': 8" in text
    assert numbers("accuracy", text)[0] > 0.75


def test_pyod_finds_the_fours(capsys):
    text = run("pyod_users", capsys)
    ours, *others, average = numbers("ROC:", text)
    assert ours > 0.9
    assert len(others) == 2
    assert average > 0.9
    assert numbers("rows,", text)[0] >= 5


def test_the_code_of_the_page_about_other_loops_works():
    page = (EXAMPLES.parent / "docs/ecosystem.md").read_text()
    own, into, pyod = re.findall(r"```python\n(.*?)```", page, re.S)
    names = {}
    exec(own + into, names)
    assert names["objective"](names["model"], names["x"]).kl > 0
    assert not names["estimator"].model_.training
    pytest.importorskip("pyod")
    exec(pyod, names)
    assert names["detector"].labels_.mean() == pytest.approx(0.1, abs=0.001)


def test_an_estimator_uses_weights_trained_by_another_loop():
    X, y = load_wine(return_X_y=True)
    model = ConditionalVAE(n_components=3, hidden=(16,), dropout=0.2, random_state=0)
    before = model.partial_fit(X, y).score(X, condition=y)
    x, c = model.tensors(X, y)
    objective = build_objective(model)
    optimizer = torch.optim.Adam(model.model_.train().parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        objective(model.model_, x, c).loss.backward()
        optimizer.step()
    model.model_.eval()
    assert model.score(X, condition=y) > before + 3
    assert (model.transform(X) == model.transform(X)).all()


def test_an_objective_compiles_in_one_graph():
    settings = specs.VAE(n_components=2, hidden=(8,))
    model, objective = build_model(settings, (4,), "bernoulli"), build_objective(settings)
    loss = torch.compile(lambda x: objective(model, x).loss, backend="eager", fullgraph=True)
    torch.manual_seed(0)
    expected = objective(model, torch.ones(5, 4)).loss
    torch.manual_seed(0)
    assert loss(torch.ones(5, 4)).item() == pytest.approx(expected.item())
