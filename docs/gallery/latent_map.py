"""
A map of the digits
===================

Each point is the code of a test digit in a two-dimensional VAE. The colours are the labels, which
the model did not receive.
"""

from isthmus import VAE
from isthmus.applications.maps import LatentMap
from isthmus.data import load

data = load("mnist")
model = VAE(n_components=2, hidden=(500, 500), epochs=12, random_state=0)
latent = LatentMap(model).fit(data.X)
figure = latent.figure(data.X_test, data.y_test)

# sphinx_gallery_thumbnail_path = "images/gallery/latent_map.png"
