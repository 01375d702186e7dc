"""
Why a VAE has two terms
=======================

The reconstruction alone leaves gaps between the digits; the KL term alone makes every code the
prior, in which nothing is told apart; both together give each digit a place and leave no gaps.
"""

from sklearn.datasets import load_digits

from isthmus.applications.maps import fit_three, side_by_side

digits = load_digits()
X = digits.images / 16
models = fit_three(X, n_components=2, hidden=(256, 128), epochs=250, random_state=0)
figure = side_by_side(models, X, digits.target)
