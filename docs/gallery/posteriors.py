"""
Uncertainty of the codes
========================

Each ellipse is q(z|x) for one example, one standard deviation around its mean. It is small if the
image determines the code well.
"""

from sklearn.datasets import load_digits

from isthmus import VAE
from isthmus.applications.maps import LatentMap

digits = load_digits()
X = digits.images / 16
latent = LatentMap(VAE(n_components=2, epochs=150, random_state=0)).fit(X)
figure = latent.posterior_figure(X, digits.target)
