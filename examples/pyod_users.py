"""Use an isthmus detector like those of pyod, with the same names and signs.

Requires `pip install pyod`.
"""

import numpy as np
from pyod.models.iforest import IForest
from pyod.models.pca import PCA
from pyod.utils.data import evaluate_print
from pyod.utils.utility import standardizer
from sklearn.datasets import load_digits

from isthmus import DenoisingAutoencoder
from isthmus.applications import AnomalyDetector


def zeros_and_some_fours():
    """Return images of zeros and ten fours, and y, which is 1 for the fours."""
    digits = load_digits()
    chosen = [np.flatnonzero(digits.target == 0), np.flatnonzero(digits.target == 4)[:10]]
    rows = np.concatenate(chosen)
    return digits.data[rows] / 16, (digits.target[rows] == 4).astype(int)


def main():
    """Print ROC and precision of three detectors and of their average."""
    X, y = zeros_and_some_fours()
    model = DenoisingAutoencoder(n_components=8, epochs=50, random_state=0)
    ours = AnomalyDetector(model, contamination=0.05, random_state=0).to_pyod()
    others = [IForest(contamination=0.05, random_state=0), PCA(contamination=0.05)]
    scores = []
    for detector in [ours, *others]:
        scores.append(detector.fit(X).decision_scores_)
        evaluate_print(type(detector).__name__, y, scores[-1])
    evaluate_print("average of the three", y, standardizer(np.stack(scores, 1)).mean(1))
    flagged = ours.labels_ == 1
    print(f"isthmus flags {flagged.sum()} of {len(X)} rows, {y[flagged].sum()} of them fours")


if __name__ == "__main__":
    main()
