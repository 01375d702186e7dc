"""
Nearest neighbours
==================

On the left a test image, then the eight of 60,000 training images with the nearest codes and
their distances.
"""

import numpy as np

from isthmus import Autoencoder
from isthmus.applications.retrieval import LatentIndex
from isthmus.data import load
from isthmus.plots import pictures
from isthmus.plots.style import title

data = load("fashion-mnist")
index = LatentIndex(Autoencoder(n_components=20, epochs=5, random_state=0)).fit(data.X)

queries = data.X_test[[0, 11, 18, 23, 30]]
distances, rows = index.kneighbors(queries, n_neighbors=8)
cells = np.concatenate([queries[:, None], data.X[rows]], axis=1).reshape(-1, 28, 28)
labels = [text for d in distances for text in ("query", *(f"{value:.1f}" for value in d))]
figure = pictures(cells, columns=9, labels=labels)
title(figure, "Five queries, and the eight garments nearest to each")

# sphinx_gallery_thumbnail_path = "images/gallery/retrieval.png"
