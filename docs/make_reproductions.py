"""Write docs/reproductions.md from the saved results: python docs/make_reproductions.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "reproductions" / "results"
Row = tuple[str, str, str, str]  # what, published, ours, epochs

HEAD = """# Reproductions

This page compares isthmus with published results. One command in `reproductions/` reproduces each
row and saves its result and settings as JSON in `reproductions/results/`; `python
docs/make_reproductions.py` writes this page from those files. The last column shows our number of
epochs, and the published one if it was higher.

| experiment | published | isthmus | epochs |
| --- | ---: | ---: | ---: |
"""

NOTES = """
## Details

- **Tutorial VAE**: MNIST, 784-400-20, batch 128, Adam 1e-3, binary cross-entropy on grey values
  plus KL, nats per image. Published: two independent logs of the tutorial model.
- **Fashion-MNIST**: negative log-likelihood by importance sampling, published with 5000 samples;
  the protocol and numbers of the density-estimation table of *Exemplar VAE: linking generative
  models, nearest neighbor retrieval, and data augmentation* (Norouzi, Fleet, Norouzi, 2020),
  whose models train for up to 2000 epochs with a patience of 50. Ours are checkpoints of
  unfinished runs, which the command continues.
- **Importance-weighted bounds**: *Importance weighted autoencoders* (Burda, Grosse,
  Salakhutdinov, 2016), one stochastic layer, 3280 epochs in stages of decreasing learning rate;
  5000 samples. Ours use a few epochs at one learning rate; they reproduce the order k = 1 > 5 >
  50.
- **30-D codes**: squared error per image on MNIST's test set; *Reducing the dimensionality of
  data with neural networks* (Hinton, Salakhutdinov, 2006), whose deep autoencoder was pretrained
  layer by layer and then trained by conjugate gradients.
- **Features**: test error of a logistic regression on 1000 units; published numbers from
  *k-sparse autoencoders* (Makhzani, Frey, 2013). The numbers for raw pixels differ because of the
  penalty of the regression.
- **Disentanglement**: β-VAE and β-TCVAE on `isthmus.data.sprites` at half size; means and
  standard deviations over seeds. The data are rendered like dSprites but are not that file, and
  training is far shorter than in published work, so there is no published number to compare with.
"""


def tutorial(r: dict[str, Any]) -> Iterator[Row]:
    for which in ("test", "train"):
        published, ours = r["published"][which], r[f"{which}_nats"]
        yield f"Tutorial VAE, {which} nats", f"{published:.1f}", f"{ours:.2f}", str(r["epochs"])


def fashion(r: dict[str, Any]) -> Iterator[Row]:
    name = {"standard": "standard normal prior", "vamp": "VampPrior"}[r["prior"]]
    what = f"Fashion-MNIST, VAE, {name}, nats ({r['importance_samples']} samples)"
    yield what, f"{r['published']:.2f}", f"{r['nll']:.2f}", f"{r['epochs']} of 2000"


def importance_weighted(r: dict[str, Any]) -> Iterator[Row]:
    for k, row in r["by_k"].items():
        what = f"Importance-weighted bound, MNIST, k = {k}, nats"
        yield what, f"{row['published']:.2f}", f"{row['nll']:.2f}", f"{r['epochs']} of 3280"


def deep_codes(r: dict[str, Any]) -> Iterator[Row]:
    for which, name in (("autoencoder", "deep autoencoder"), ("pca", "PCA")):
        epochs = str(r["epochs"]) if which == "autoencoder" else "–"
        what = f"30-D codes, MNIST, {name}, squared error"
        yield what, f"{r['published'][which]:.2f}", f"{r[which]:.2f}", epochs


def features(r: dict[str, Any]) -> Iterator[Row]:
    for name, error in r["test_error_percent"].items():
        published = r["published"].get(name)
        epochs = "–" if name == "raw pixels" else str(r["epochs"])
        shown = "–" if published is None else f"{published:.2f} %"
        yield f"Features, MNIST, {name}, error", shown, f"{error:.2f} %", epochs


def disentanglement(r: dict[str, Any]) -> str:
    names = list(next(iter(r["table"].values())))
    lines = [
        f"\n## Disentanglement, {len(r['seeds'])} seeds, {r['epochs']} epochs\n",
        "| | " + " | ".join(r["table"]) + " |",
        "| --- |" + " ---: |" * len(r["table"]),
    ]
    for name in names:
        cells = (f"{m[name]['mean']:.3g} ± {m[name]['std']:.2g}" for m in r["table"].values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


TABLES: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "tutorial-vae": tutorial,
    "fashion-standard": fashion,
    "fashion-vamp": fashion,
    "importance-weighted": importance_weighted,
    "deep-codes": deep_codes,
    "features": features,
}


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def main() -> None:
    found = {name: read(name) for name in TABLES}
    rows = [row for name, r in found.items() if r for row in TABLES[name](r)]
    text = HEAD + "".join("| " + " | ".join(row) + " |\n" for row in rows)
    sprites = read("disentanglement")
    text += disentanglement(sprites) if sprites else ""
    (ROOT / "docs" / "reproductions.md").write_text(text + NOTES)


if __name__ == "__main__":
    main()
