"""
How sure the model is of each code
==================================

Each ellipse is q(z|x) of one example, one standard deviation about its mean: small where the
picture says clearly what its code must be.
"""

from sklearn.datasets import load_digits

from isthmus import VAE
from isthmus.applications.maps import LatentMap

digits = load_digits()
X = digits.images / 16
latent = LatentMap(VAE(n_components=2, epochs=150, random_state=0)).fit(X)
figure = latent.posterior_figure(X, digits.target)
