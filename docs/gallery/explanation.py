"""
Why a row is anomalous
======================

A detector was trained on benign tumours only. The bars show which measurements make one malignant
tumour anomalous, with its value and the median of benign tumours.
"""

import numpy as np
from sklearn.datasets import load_breast_cancer

from isthmus import VAE
from isthmus.applications import AnomalyDetector
from isthmus.plots.style import PALETTE, tidy, title
from isthmus.plots.style import figure as sheet

data = load_breast_cancer(as_frame=True)
benign, malignant = data.data[data.target == 1], data.data[data.target == 0]
detector = AnomalyDetector(
    VAE(n_components=7, epochs=150), score_method="likelihood", random_state=0
).fit(benign)

scores = detector.anomaly_score(malignant)
row = malignant.iloc[[np.argsort(scores)[len(scores) // 2]]]
parts = detector.explain(row)[0] - np.median(detector.explain(benign), axis=0)
top = np.argsort(parts)[-8:]
figure = sheet(3.2)
axes = tidy(figure.subplots(), xlabel="nats more than in the median benign tumour")
bars = axes.barh(data.data.columns[top], parts[top], color=PALETTE[0])
pairs = zip(row.iloc[0, top], benign.median().iloc[top], strict=True)
axes.bar_label(bars, [f" {value:,.4g} (benign {usual:,.4g})" for value, usual in pairs], fontsize=9)
axes.set_xlim(right=1.4 * parts.max())
p = detector.anomaly_pvalue(row)[0]
title(figure, f"Contributions to the anomaly score of a malignant tumour, p = {p:.3f}")
