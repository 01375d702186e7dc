"""
Anomalous images, and where they are anomalous
==============================================

A detector was trained on ankle boots only. Above, test images with their p-values (a share p of
unseen boots is at least as anomalous); below, the anomalous pixels. The second boot is unusual,
and the sneaker, with p = 0.097, would pass as a boot.
"""

import numpy as np

from isthmus import DenoisingAutoencoder
from isthmus.applications import AnomalyDetector
from isthmus.data import load
from isthmus.plots.style import bare, title
from isthmus.plots.style import figure as sheet

data = load("fashion-mnist")
model = DenoisingAutoencoder(corruption="gaussian", corruption_level=0.1, epochs=25)
detector = AnomalyDetector(model, score_method="nap", random_state=0).fit(data.X[data.y == 9])

kinds = [9, 9, 7, 5, 8, 1, 6, 2]  # boots, sneaker, sandal, bag, trousers, shirt, pullover
X = data.X_test[[np.flatnonzero(data.y_test == kind)[i] for i, kind in enumerate(kinds)]]
figure = sheet(2.2)
rows = figure.subplots(2, len(X))
for above, below, picture, heat, p in zip(
    *rows, X, detector.anomaly_map(X), detector.anomaly_pvalue(X), strict=True
):
    bare(above).imshow(picture, cmap="gray")
    bare(below).imshow(heat, cmap="inferno", vmin=0, vmax=0.6)
    above.set_title(f"p = {p:.2g}" if p > 0.001 else "p < 0.001", fontsize=9)
title(figure, "Two boots and six other items, scored by a detector trained on boots")

# sphinx_gallery_thumbnail_path = "images/gallery/anomaly_detection.png"
