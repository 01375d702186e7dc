"""
Digits in a few bytes
=====================

Test digits with 784 bytes each, and their reconstructions from codes of 20 numbers that are
rounded to 8 bits and fewer. The error is the root mean square over all test digits, with pixels
in [0, 1].
"""

import numpy as np

from isthmus import Autoencoder
from isthmus.applications.compression import LatentCodec
from isthmus.data import load
from isthmus.plots import pictures
from isthmus.plots.style import title

data = load("mnist")
model = Autoencoder(n_components=20, hidden=(500,), epochs=6, random_state=0)
codec = LatentCodec(model).fit(data.X)  # trains the model, and takes the range of each number

cells, names = [data.X_test[:10] / 255], ["original\n784 bytes"]
for bits in (8, 6, 4, 3, 2):
    packed = codec.set_params(bits=bits).compress(data.X_test)
    error = codec.report(data.X_test, packed)["RMS error of decompressed rows"]
    cells.append(codec.decompress(packed)[:10])
    names.append(f"{bits} bits: {packed.bytes_per_row:.1f} bytes\nerror {error:.3f}")
figure = pictures(np.concatenate(cells), columns=10)
figure.axes[0].set_yticks(np.arange(len(names)) + 0.5, names)
figure.set_figwidth(7.9)
title(figure, "Compressed and decompressed, from 8 bits a number to 2")

# sphinx_gallery_thumbnail_path = "images/gallery/compression.png"
