"""
The two terms of a VAE's loss
=============================

The reconstruction alone leaves gaps between the digits. The KL term alone makes every code equal
to the prior, so that no digits are separated. Both together give each digit a region and leave no
gaps.
"""

from sklearn.datasets import load_digits

from isthmus.applications.maps import compare_latent_maps, fit_loss_ablation

digits = load_digits()
X = digits.images / 16
models = fit_loss_ablation(X, n_components=2, hidden=(256, 128), epochs=250, random_state=0)
figure = compare_latent_maps(models, X, digits.target)
