"""Write docs/reproductions.md from the saved results: python docs/make_reproductions.py."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "reproductions" / "results"
Result = dict[str, Any]

HEAD = """# Reproductions

This page compares isthmus with published results. `python reproductions/run.py --all --data-home
DIR` trains what is unfinished, in this order, and can be stopped and continued at any time;
`--list` prints what is left. Each run saves its result, settings, epochs and processor time as JSON
in `reproductions/results/`; `python docs/make_reproductions.py` writes this page from those files.
Numbers of several runs (seeds, classes or masks) are means, with the standard deviation. Where a
run has not ended, the number of epochs says how far it is.

| experiment | published | isthmus | runs | epochs | processor hours |
| --- | ---: | ---: | ---: | ---: | ---: |
"""

NOTES = """
## Details

- **Tutorial VAE**: MNIST, 784-400-20, batch 128, Adam 1e-3, binary cross-entropy on grey values
  plus KL, nats per image. Published: two independent logs of the tutorial model.
- **Density**: negative log-likelihood by importance sampling, in nats; the protocol and numbers of
  the density-estimation table of *Exemplar VAE: linking generative models, nearest neighbor
  retrieval, and data augmentation* (Norouzi, Fleet, Norouzi, 2020), whose models train for up to
  2000 epochs with a patience of 50; 5000 samples, 1000 in the unfinished run with a standard normal
  prior.
- **Importance-weighted bounds**: *Importance weighted autoencoders* (Burda, Grosse,
  Salakhutdinov, 2016), one stochastic layer, 3280 epochs in stages of decreasing learning rate;
  5000 samples. The results of 8 epochs use one learning rate and 1000 test rows.
- **30-D codes**: squared error per image on MNIST's test set; *Reducing the dimensionality of
  data with neural networks* (Hinton, Salakhutdinov, 2006), whose deep autoencoder was pretrained
  layer by layer and then trained by conjugate gradients.
- **Features**: test error of a logistic regression on 1000 units, in percent; published numbers
  from *k-sparse autoencoders* (Makhzani, Frey, 2013).
- **Anomalies**: area under the ROC curve for one normal class, mean and deviation over the ten
  classes; published means of *RaPP: novelty detection with reconstruction along projection
  pathway* (Kim, Shim, Lim, Jeon, Choi, Kim, Yoon, 2020).
- **Missing values**: mean squared error of half the cells of scikit-learn's breast cancer table,
  standardised; published: the authors' notebook on *MIWAE: deep generative modelling and
  imputation of incomplete data sets* (Mattei, Frellsen, 2019), one mask. Ours are five other masks
  and do not reach it: after 100 epochs the error is .34 (first mask), then the model overfits.
- **Disentanglement**: β-VAE and β-TCVAE on `isthmus.data.sprites` at half size; means and
  standard deviations over seeds. The data are rendered like dSprites but are not that file, and
  training is far shorter than in published work, so there is no published number to compare with.
"""

TITLES = {
    "tutorial-vae": "Tutorial VAE",
    "density": "Density",
    "importance-weighted": "Importance-weighted bound, MNIST",
    "deep-codes": "30-D codes, MNIST",
    "features": "Features, MNIST",
    "anomalies": "Anomalies",
    "missing-values": "Missing values",
}
REPETITION = re.compile(r",? ?(seed|class|mask)[ -]\d+$")


def grouped(table: str) -> dict[str, list[Result]]:
    """Return the results of a table by name, those of repetitions together; finished ones first."""
    groups: dict[str, list[Result]] = {}
    for path in sorted((RESULTS / table).glob("*.json")):
        groups.setdefault(REPETITION.sub("", path.stem), []).append(json.loads(path.read_text()))
    return {name: [r for r in found if r["done"]] or found for name, found in groups.items()}


def show(values: list[float], digits: int) -> str:
    """Return a mean and a standard deviation."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}"


def rows(table: str) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table."""
    for name, found in grouped(table).items():
        epochs, planned = (max(r[key] or 0 for r in found) for key in ("epochs", "planned_epochs"))
        hours = [r["processor_hours"] for r in found if r["processor_hours"] is not None]
        is_done = all(r["done"] for r in found)
        cost = f"{epochs}" if is_done else f"{epochs} of {planned}"
        for measure, published in (
            found[0]["published"] or {"test error in percent": None}
        ).items():
            digits = 3 if "AUROC" in measure else 4 if published and published < 1 else 2
            yield (
                ", ".join(filter(None, (TITLES[table], name, measure))),
                "–" if published is None else f"{published:.{digits}f}",
                show([r["measured"][measure] for r in found if measure in r["measured"]], digits),
                str(len(found)),
                cost,
                f"{sum(hours):.2f}" if hours else "–",
            )


def disentanglement() -> str:
    """Return the table of metrics, models beside each other."""
    groups = grouped("disentanglement")
    if not groups:
        return ""
    n = min(sum(r.get("seeds", 1) for r in found) for found in groups.values())
    first = next(iter(groups.values()))[0]
    lines = [
        f"\n## Disentanglement, {n} seeds, {first['epochs']} epochs\n",
        "| | " + " | ".join(groups) + " |",
        "| --- |" + " ---: |" * len(groups),
    ]
    for name in first["measured"]:
        cells = [show([r["measured"][name] for r in found], 3) for found in groups.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    table = "".join("| " + " | ".join(row) + " |\n" for name in TITLES for row in rows(name))
    (ROOT / "docs" / "reproductions.md").write_text(HEAD + table + disentanglement() + NOTES)


if __name__ == "__main__":
    main()
