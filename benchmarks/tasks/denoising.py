"""Denoising, measured: pictures and speech, against the classical filters.

    python benchmarks/tasks/denoising.py --data-home DIR [--seeds 0] [--only pictures speech]
        [--out FILE.json] [--picture FILE.png]

Pictures: Fashion-MNIST with Gaussian noise of σ = .3, half of the pixels masked, or a fifth salt
and pepper; the figure is the mean PSNR over 1,000 test pictures, in decibels. One denoiser is
trained on all three. Speech: recordings held out from training, with white or pink noise at 5
decibels; the figure is the mean gain of the signal-to-noise ratio, in decibels.

The settings of the other methods are chosen on noisy *training* examples, for each noise anew,
among those listed here. They need scikit-image with PyWavelets; spectral gating is noisereduce
where that is installed, and beside it a gate by scipy's transform that is told the noise's
spectrum, which none of the others is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import median_filter
from scipy.signal import istft, stft, wiener
from sklearn.decomposition import PCA

from isthmus import Autoencoder, DenoisingAutoencoder
from isthmus.applications.corruptions import BackgroundNoise
from isthmus.applications.denoising import Denoiser, denoise_audio
from isthmus.data import load
from isthmus.data.wav import read_wav
from isthmus.data.windows import Windows
from isthmus.evaluation import psnr

N_TEST, N_CHOOSE = 1000, 200  # pictures
KINDS = {"gaussian": 0.3, "masking": 0.5, "salt-and-pepper": 0.2}
EPOCHS = {"pictures": 4, "speech": 15}
N_HELD, N_CHOOSE_FILES = 60, 20  # recordings
SNR, RATE, WINDOW = 5.0, 8000, 4096
Array = np.ndarray
Method = Callable[..., Array]


def rows(
    data_home: str,
    seeds: tuple[int, ...] = (0,),
    only: tuple[str, ...] = (),
    picture: str | None = None,
) -> list[dict]:
    """Return one record for each noise, method and seed; draw examples where told to."""
    parts = {"pictures": pictures, "speech": speech}
    names = only or tuple(parts)
    return [row for n in names for seed in seeds for row in parts[n](data_home, seed, picture)]


def record(use: str, data: str, method: str, figure: float, start: float) -> dict[str, Any]:
    seconds = round(time.perf_counter() - start, 1)
    row = {"use": use, "data": data, "method": method, "figure": round(figure, 2)}
    print(row | {"seconds": seconds}, flush=True)
    return row | {"seconds": seconds}


def best(method: Method, settings: list[dict], score: Callable[[Method], float]) -> Method:
    """Return a method with those of the settings that score best."""
    chosen = max(settings, key=lambda s: score(lambda *x: method(*x, **s)))
    return lambda *x: method(*x, **chosen)


# --------------------------------------------------------------------- pictures


def noisy_pictures(X: Array, kind: str, rng: np.random.Generator) -> Array:
    """Return a corrupted copy of X (n, height, width) in [0, 1]; noise may leave that range."""
    level, hit = KINDS[kind], rng.random(X.shape)
    if kind == "gaussian":
        return (X + level * rng.normal(size=X.shape)).astype(np.float32)
    if kind == "masking":
        return np.where(hit < level, 0, X).astype(np.float32)
    return np.where(hit < level, hit < level / 2, X).astype(np.float32)


def median(X: Array, size: int) -> Array:
    return median_filter(X, (1, size, size))


def wavelet(X: Array, **settings: Any) -> Array:
    from skimage.restoration import denoise_wavelet

    return np.stack([denoise_wavelet(x, rescale_sigma=True, **settings) for x in X])


def non_local_means(X: Array, **settings: Any) -> Array:
    from skimage.restoration import denoise_nl_means

    return np.stack([denoise_nl_means(x, patch_distance=9, **settings) for x in X])


class Components:
    """Projection on the principal components of clean pictures."""

    def __init__(self, X: Array) -> None:
        self.pca = PCA(300, random_state=0).fit(X.reshape(len(X), -1))

    def __call__(self, X: Array, n: int) -> Array:
        """Return X by its first n components."""
        Z = self.pca.transform(X.reshape(len(X), -1))
        Z[:, n:] = 0
        return self.pca.inverse_transform(Z).reshape(X.shape)


def picture_methods(X: Array) -> dict[str, tuple[Method, list[dict]]]:
    """Return each method and the settings to choose from."""
    shrink = [{"method": "BayesShrink"}, {"method": "VisuShrink"}]
    return {
        "median": (median, [{"size": s} for s in (2, 3, 5)]),
        "wavelet": (
            wavelet,
            [s | {"sigma": v} for s in shrink for v in (None, 0.1, 0.2, 0.3, 0.5)],
        ),
        "non-local means": (
            non_local_means,
            [{"h": h, "patch_size": p} for h in (0.1, 0.2, 0.25, 0.3, 0.5) for p in (3, 5)],
        ),
        "PCA": (Components(X), [{"n": n} for n in (10, 20, 30, 50, 75, 100, 200)]),
    }


def pictures(data_home: str, seed: int, picture: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of Fashion-MNIST."""
    data = load("fashion-mnist", data_home=data_home)
    rng = np.random.default_rng(seed)
    clean = data.X_test[rng.permutation(len(data.X_test))[:N_TEST]] / np.float32(255)
    choose = data.X[rng.permutation(len(data.X))[:N_CHOOSE]] / np.float32(255)
    methods = picture_methods(data.X[:20_000] / np.float32(255))
    start = time.perf_counter()
    denoiser = picture_denoiser(seed).fit(data.X)
    training = time.perf_counter() - start
    if picture:
        draw_pictures(denoiser, data.X_test[[0, 1, 19, 18, 11, 23]] / np.float32(255), picture)
    for kind, level in KINDS.items():
        name = f"Fashion-MNIST, {kind} {level}"
        noisy, trial = noisy_pictures(clean, kind, rng), noisy_pictures(choose, kind, rng)
        start = time.perf_counter()
        yield record("denoising, PSNR", name, "none", quality(clean, noisy), start)
        for method, (function, settings) in methods.items():
            start = time.perf_counter()
            chosen = best(function, settings, lambda f, trial=trial: quality(choose, f(trial)))
            yield record("denoising, PSNR", name, method, quality(clean, chosen(noisy)), start)
        start = time.perf_counter() - training
        value = quality(clean, denoiser.transform(noisy))
        yield record("denoising, PSNR", name, "isthmus", value, start)


def picture_denoiser(seed: int) -> Denoiser:
    model = DenoisingAutoencoder(
        backbone="pyramid",
        likelihood="bernoulli",
        epochs=EPOCHS["pictures"],
        learning_rate=2e-3,
        validation_fraction=0.02,
        random_state=seed,
        progress="lines",
    )
    return Denoiser(model, corruption=tuple(KINDS), level=tuple(KINDS.values()))


def quality(clean: Array, cleaned: Array) -> float:
    return psnr(clean, np.clip(cleaned, 0, 1))


# ----------------------------------------------------------------------- speech


def pink(n: int, rng: np.random.Generator) -> Array:
    """Return noise whose power falls as 1 / frequency."""
    frequency = np.arange(n // 2 + 1).clip(1)
    return np.fft.irfft(np.fft.rfft(rng.normal(size=n)) / np.sqrt(frequency), n)


NOISES = {"white": lambda n, rng: rng.normal(size=n), "pink": pink}


def noisy_speech(sounds: list[Array], kind: str, rng: np.random.Generator) -> list[Array]:
    """Return each recording with noise at `SNR` decibels."""
    out = []
    for sound in sounds:
        noise = NOISES[kind](2 * (len(sound) // 2 + 1), rng)[: len(sound)]
        out.append(
            sound + noise * np.sqrt(np.mean(sound**2) / np.mean(noise**2) / 10 ** (SNR / 10))
        )
    return out


def noisereduce_gate(noisy: Array, clip: Array, told: bool, **settings: Any) -> Array:
    import noisereduce

    sample = clip if told else None
    return noisereduce.reduce_noise(noisy, RATE, y_noise=sample, **settings)


def told_gate(noisy: Array, clip: Array, over: float, floor: float) -> Array:
    """Weaken each bin of the spectrogram by the power of the noise, known from a second of it."""
    power = (np.abs(stft(clip, RATE, nperseg=256)[2]) ** 2).mean(1, keepdims=True)
    _, _, Y = stft(noisy, RATE, nperseg=256)
    gain = np.maximum(1 - over * power / np.maximum(np.abs(Y) ** 2, 1e-20), floor)
    return istft(gain * Y, RATE, nperseg=256)[1][: len(noisy)]


def wiener_filter(noisy: Array, clip: Array, size: int) -> Array:
    return wiener(noisy, size)


def speech_methods() -> dict[str, tuple[Method, list[dict]]]:
    """Return each method and the settings to choose from."""
    methods: dict[str, tuple[Method, list[dict]]] = {
        "Wiener filter": (wiener_filter, [{"size": s} for s in (3, 5, 7, 9, 15, 29)]),
        "gate told the noise": (
            told_gate,
            [{"over": o, "floor": f} for o in (1, 1.5, 2, 3, 4) for f in (0.0, 0.05, 0.1, 0.2)],
        ),
    }
    try:
        import noisereduce  # noqa: F401
    except ImportError:
        return methods
    grid = [
        {"stationary": s, "told": s and t, "prop_decrease": p}
        for s, t in ((True, True), (True, False), (False, False))
        for p in (0.3, 0.5, 0.7, 0.85, 1.0)
    ]
    return methods | {"spectral gating": (noisereduce_gate, grid)}


def speech(data_home: str, seed: int, picture: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the records of the folder speech."""
    files = sorted(Path(data_home, "speech").glob("*.wav"))
    sounds = [read_wav(file).samples[0] for file in files]
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(sounds))
    held, kept = ([sounds[i] for i in part] for part in np.split(order, [N_HELD]))
    choose = kept[:N_CHOOSE_FILES]
    start = time.perf_counter()
    denoiser = speech_denoiser(kept, rng, seed)
    training = time.perf_counter() - start
    if picture:
        example = next(sound for sound in held if 2 < len(sound) / RATE < 3)
        draw_speech(denoiser, example, picture.replace(".png", "-speech.png"))
    for kind in NOISES:
        name = f"speech, {kind} noise at {SNR:g} dB"
        noisy, trial = noisy_speech(held, kind, rng), noisy_speech(choose, kind, rng)
        for method, (function, settings) in speech_methods().items():
            start = time.perf_counter()
            chosen = best(
                function,
                settings,
                lambda f, trial=trial, kind=kind: gain(choose, trial, kind, f),
            )
            yield record(
                "denoising, SNR gain", name, method, gain(held, noisy, kind, chosen), start
            )
        start = time.perf_counter() - training
        value = gain(held, noisy, kind, lambda y, _: ours(denoiser, y))
        yield record("denoising, SNR gain", name, "isthmus", value, start)


def ours(denoiser: Denoiser, noisy: Array) -> Array:
    return denoise_audio(denoiser.estimator_, noisy[None], RATE)[0]


def speech_denoiser(sounds: list[Array], rng: np.random.Generator, seed: int) -> Denoiser:
    windows = Windows((WINDOW,))
    padded = [np.pad(s, (0, max(0, WINDOW - len(s)))) for s in sounds]
    X = np.concatenate([windows.cut(s[None]) for s in padded])[:, None].astype(np.float32)
    minute = 60 * RATE
    noise = BackgroundNoise(
        [make(minute, rng) for make in NOISES.values()], snr=(-5, 15), power=float(np.mean(X**2))
    )
    model = Autoencoder(
        backbone="spectral",
        likelihood="gaussian",
        epochs=EPOCHS["speech"],
        batch_size=32,
        random_state=seed,
        progress="lines",
    )
    return Denoiser(model, corruption=noise).fit(X)


def gain(clean: list[Array], noisy: list[Array], kind: str, method: Method) -> float:
    """Return the mean gain of the signal-to-noise ratio in decibels.

    Each method may look at a second of other noise of the same kind and loudness.
    """
    rng, gains = np.random.default_rng(1), []
    for x, y in zip(clean, noisy, strict=True):
        clip = NOISES[kind](RATE, rng)
        clip = clip * np.sqrt(np.mean((y - x) ** 2) / np.mean(clip**2))
        error = np.sum((method(y, clip) - x) ** 2)
        gains.append(10 * np.log10(np.sum((y - x) ** 2) / error))
    return float(np.mean(gains))


# ---------------------------------------------------------------------- picture


def save(figure: Any, path: str) -> None:
    """Write a figure in 64 colours: noise does not compress."""
    figure.savefig(path, dpi=80)
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(64)
    few.save(path, optimize=True)


def draw_pictures(denoiser: Denoiser, clean: Array, path: str) -> None:
    """Draw each kind of noise and what is made of it, and the originals."""
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(0)
    figure, axes = plt.subplots(7, len(clean), figsize=(6, 7.2), layout="constrained")
    for k, kind in enumerate(KINDS):
        noisy = noisy_pictures(clean, kind, rng)
        show(axes[2 * k], noisy, kind)
        show(axes[2 * k + 1], denoiser.transform(noisy), "cleaned")
    show(axes[6], clean, "original")
    save(figure, path)


def show(axes: Array, images: Array, label: str) -> None:
    for axis, image in zip(axes, images, strict=True):
        axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(label, fontsize=8)


def draw_speech(denoiser: Denoiser, clean: Array, path: str) -> None:
    """Draw the spectrograms of a recording: noisy, cleaned, original."""
    import matplotlib.pyplot as plt

    (noisy,) = noisy_speech([clean], "white", np.random.default_rng(0))
    sounds = {"noisy, 5 dB": noisy, "cleaned": ours(denoiser, noisy), "original": clean}
    figure, axes = plt.subplots(3, 1, figsize=(7, 5.4), sharex=True, layout="constrained")
    for axis, (label, sound) in zip(axes, sounds.items(), strict=True):
        axis.specgram(sound, 256, RATE, noverlap=192, vmin=-130, vmax=-40)
        axis.set_ylabel(f"{label}\nHz", fontsize=8)
    axes[-1].set_xlabel("seconds")
    save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-home", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", default=[], choices=["pictures", "speech"])
    parser.add_argument("--out", help="where to write the figures as JSON")
    parser.add_argument("--picture", help="where to draw examples, .png; speech beside it")
    arguments = parser.parse_args()
    results = rows(
        arguments.data_home, tuple(arguments.seeds), tuple(arguments.only), arguments.picture
    )
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
