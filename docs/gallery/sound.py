"""
Removing noise from speech
==========================

Spectrograms of a test sentence: with white noise at a third of the power of the voice, denoised,
and as recorded. Bright means loud.
"""

import os
from pathlib import Path

import numpy as np

from isthmus import Autoencoder
from isthmus.applications.corruptions import BackgroundNoise
from isthmus.applications.denoising import Denoiser, denoise_audio
from isthmus.data import load
from isthmus.data.wav import read_wav
from isthmus.plots.style import figure as sheet
from isthmus.plots.style import tidy, title

data = load(Path(os.environ["ISTHMUS_DATA"], "speech"))  # a folder of WAV files
rng = np.random.default_rng(0)
train = data.X[data.groups < 150]
noise = BackgroundNoise(rng.normal(size=60 * data.rate), snr=(-5, 15), power=np.mean(train**2))
model = Autoencoder(
    backbone="spectral", likelihood="gaussian", batch_size=32, epochs=5, random_state=0
)
denoiser = Denoiser(model, corruption=noise).fit(train)

sound = read_wav(Path(os.environ["ISTHMUS_DATA"], "speech", "something-terribly-wrong.wav"))
clean = sound.samples[0]
hiss = rng.normal(size=clean.shape) * np.sqrt(np.mean(clean**2) / 10**0.5)  # 5 decibels below
cleaned = denoise_audio(denoiser.estimator_, (clean + hiss)[None], sound.rate)[0]

figure = sheet(5.0)
shown = {"noisy": clean + hiss, "denoised": cleaned, "original": clean}
for axes, (name, samples) in zip(figure.subplots(3), shown.items(), strict=True):
    axes.specgram(samples, 256, sound.rate, noverlap=192, vmin=-120, vmax=-40, cmap="magma")
    tidy(axes, ylabel=f"{name}, Hz", yticks=[0, 2000, 4000])
axes.set_xlabel("seconds")
ratio = 10 * np.log10(np.mean(clean**2) / np.mean((cleaned - clean) ** 2))
title(figure, f"“Something is terribly wrong”: signal-to-noise 5 dB, denoised {ratio:.1f} dB")

# sphinx_gallery_thumbnail_path = "images/gallery/sound.png"
