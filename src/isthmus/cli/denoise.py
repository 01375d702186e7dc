"""``isthmus denoise``: remove noise from images and audio files."""

from __future__ import annotations

import argparse
import io
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus._messages import say
from isthmus.cli._options import RUN, command, option, switch, whole_number

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.data.wav import AudioClip
    from isthmus.estimators import LatentEstimator


PILLOW_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
AS_PNG = (".gif", ".webp")  # few colours, or lossy: the result is written as PNG


COMMAND = command(
    "remove noise from images and audio files",
    "Remove noise from images and audio files with a run that was fitted on clean ones. The size, "
    "sample rate, bit depth and channels of a file are kept; FLAC, Ogg and MP3 become WAV; the "
    "input is never replaced.",
    RUN,
    option("files FILE+: images (png, jpg, ...) and audio files (wav, flac, ogg, mp3)"),
    option(
        "--out PATH: output folder, or the name of the only output (default: NAME-denoised next to "
        "each file)"
    ),
    switch(
        "--patches: clean images of any size in overlapping patches, for runs fitted on patches"
    ),
    option("--overlap FRACTION: overlap of consecutive windows or patches", default=0.5),
    option(
        "--rate HZ: sample rate of the training data (default: the one recorded in the run)",
        type=whole_number(1),
    ),
    switch("--force: replace existing results"),
    examples=("isthmus denoise RUN scan.png", "isthmus denoise RUN *.wav --out clean/"),
)


def run(arguments: argparse.Namespace) -> int:
    """Clean each file and write the result; return the exit code."""
    from isthmus.data.audio import AUDIO_SUFFIXES
    from isthmus.data.windows import Windows
    from isthmus.estimators import model_io
    from isthmus.persistence.atomic import write_atomic
    from isthmus.persistence.run_folder import read_config

    Windows((1,), arguments.overlap)  # raises for an overlap out of bounds
    sources = [Path(file) for file in arguments.files]
    targets = _targets(sources, arguments.out, arguments.force)
    estimator = model_io.load(arguments.run)
    rate = arguments.rate or (read_config(Path(arguments.run)).get("data") or {}).get("rate")
    for source, target in zip(sources, targets, strict=True):
        if source.suffix.lower() in AUDIO_SUFFIXES:
            content, summary = _denoise_audio(estimator, source, rate, arguments.overlap)
        else:
            content, summary = _denoise_image(estimator, source, target, arguments)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)
        say(f"{source} -> {target}: {summary}")
    return 0


def _targets(sources: list[Path], out: str | None, force: bool) -> list[Path]:
    """Return the path of each result; raise a ValueError if one cannot be written."""
    from isthmus.data.audio import AUDIO_SUFFIXES
    from isthmus.data.images import IMAGE_SUFFIXES

    suffixes = (*AUDIO_SUFFIXES, *IMAGE_SUFFIXES)
    for source in sources:
        if not source.is_file():
            raise ValueError(f"{source}: no such file; check the name.")
        if source.suffix.lower() not in suffixes:
            known = ", ".join(sorted(suffix[1:] for suffix in suffixes))
            raise ValueError(f"{source}: expected an image or an audio file ({known}); convert it.")
    targets = [_target(source, out, len(sources)) for source in sources]
    repeated = [path for path, count in Counter(targets).items() if count > 1]
    if repeated:
        raise ValueError(f"two files would be written to {repeated[0]}; denoise them separately.")
    inputs = {source.resolve() for source in sources}
    for target in targets:
        if target.resolve() in inputs:
            raise ValueError(f"{target} is one of the inputs; name another --out.")
        if target.is_dir():
            raise ValueError(f"{target} is a folder; name another --out.")
        if target.exists() and not force:
            raise ValueError(f"{target} already exists; add --force to replace it.")
    return targets


def _target(source: Path, out: str | None, n_sources: int) -> Path:
    from isthmus.data.audio import AUDIO_SUFFIXES, COMPRESSED_SUFFIXES
    from isthmus.data.images import IMAGE_SUFFIXES

    suffix = source.suffix
    if suffix.lower() in AS_PNG:
        suffix = ".png"
    elif suffix.lower() in COMPRESSED_SUFFIXES:
        suffix = ".wav"
    if out is None:
        return source.with_name(f"{source.stem}-denoised{suffix}")
    target = Path(out)
    ending = target.suffix.lower()
    if target.is_dir() or ending not in (*AUDIO_SUFFIXES, *IMAGE_SUFFIXES):
        return target / f"{source.stem}{suffix}"
    if n_sources > 1:
        raise ValueError(f"--out {out} names one file, but there are {n_sources}: name a folder.")
    other_kind = (ending in AUDIO_SUFFIXES) != (suffix.lower() in AUDIO_SUFFIXES)
    if other_kind or ending in (*AS_PNG, *COMPRESSED_SUFFIXES):
        raise ValueError(f"--out {out}: the result of {source} is written as {suffix}.")
    return target


def _denoise_audio(
    estimator: LatentEstimator, source: Path, rate: int | None, overlap: float
) -> tuple[bytes, str]:
    """Return the bytes of the result, and a summary."""
    import numpy as np

    from isthmus.applications.denoising import denoise_audio
    from isthmus.data.audio import read_audio
    from isthmus.data.wav import AudioClip, wav_bytes
    from isthmus.registry import SIZED, backbone_of

    noisy = read_audio(source)
    try:
        samples = denoise_audio(estimator, noisy.samples, noisy.rate, rate, overlap=overlap)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    content, n_clipped = wav_bytes(AudioClip(samples, noisy.rate, noisy.kind))
    parts = [_audio_summary(noisy, rate, n_clipped)]
    if power := float(np.square(noisy.samples).sum()):
        removed = float(np.square(noisy.samples - samples).sum()) / power
        parts.append(f"removed {removed:.0%} of the power")
    backbone = backbone_of(estimator, estimator.model_shape_, estimator.likelihood_)
    if estimator.corruption is None and isinstance(backbone, str) and backbone not in SIZED:
        parts.append(
            f"a {type(estimator).__name__} is not trained to remove noise: see "
            "`isthmus fit --model denoising`"
        )
    return content, "; ".join(parts)


def _audio_summary(clip: AudioClip, rate: int | None, n_clipped: int) -> str:
    channels, time = clip.samples.shape
    parts = [
        f"{time / clip.rate:.2f} s, {clip.rate} Hz, {channels} channel{'s' * (channels > 1)}, "
        f"{clip.kind[1:]} bits"
    ]
    if rate is None:
        parts.append("the run records no sample rate; that of the file is used (see --rate)")
    elif rate != clip.rate:
        lost = f", which removes what is above {rate // 2} Hz" if rate < clip.rate else ""
        parts.append(f"resampled to the run's {rate} Hz and back{lost}")
    if n_clipped:
        parts.append(f"{n_clipped} samples were too loud for the file and clipped")
    return "; ".join(parts)


def _denoise_image(
    estimator: LatentEstimator, source: Path, target: Path, arguments: argparse.Namespace
) -> tuple[bytes, str]:
    """Return the bytes of the result, and a summary."""
    from isthmus.applications.denoising import Denoiser
    from isthmus.data.images import read_image

    channels, *sides = _image_shape(estimator, source, arguments.run)
    pixels, remarks = read_image(source)
    if not arguments.patches and list(pixels.shape[1:]) != sides:
        raise ValueError(
            f"{source}: expected {sides[0]} x {sides[1]} pixels (height x width), the size of the "
            f"training data of {arguments.run}, got {pixels.shape[1]} x {pixels.shape[2]}; resize "
            "it, or add --patches if the run was fitted on patches of images."
        )
    patch_size = tuple(sides) if arguments.patches else None
    denoiser = Denoiser(estimator, patch_size=patch_size, overlap=arguments.overlap)
    if channels == 3:
        cleaned = denoiser.transform(pixels[None])[0]
    else:  # a model of grey images cleans each colour
        planes = pixels[:1] if (pixels == pixels[:1]).all() else pixels
        rows = planes[:, None] if len(estimator.feature_shape_) == 3 else planes
        cleaned = denoiser.transform(rows).reshape(planes.shape)
    content, bits = _encode_image(cleaned, target)
    colours = "grey" if len(cleaned) == 1 else "RGB"
    summary = f"{pixels.shape[1]} x {pixels.shape[2]} pixels, {colours}, {bits} bits"
    return content, "; ".join([summary, *remarks])


def _image_shape(estimator: LatentEstimator, source: Path, run: str) -> tuple[int, ...]:
    """Return channels, height and width of the images that the estimator was fitted on."""
    shape = estimator.model_shape_
    shape = shape if len(shape) == 3 else (1, *shape)
    if len(shape) != 3 or shape[0] not in (1, 3) or shape[1] == 1:
        raise ValueError(
            f"{source}: {run} was fitted on examples of shape {estimator.feature_shape_}, which "
            "are not images; fit a run on images."
        )
    if estimator.scaler_.shift.max() > 1:
        raise ValueError(
            f"{source}: {run} was fitted on pixels beyond [0, 1]; fit it on bytes or on [0, 1]."
        )
    return shape


def _encode_image(pixels: NDArray[Any], target: Path) -> tuple[bytes, int]:
    """Return the bytes of a file, and the bits per colour: 16 for floats in grey if it has them."""
    import numpy as np
    from PIL import Image

    form, bits = PILLOW_FORMATS.get(target.suffix.lower(), "PNG"), 8
    if pixels.dtype != np.uint8:
        bits = 16 if form in ("PNG", "TIFF") and len(pixels) == 1 else 8
        units = np.clip(pixels, 0, 1) * (2**bits - 1)
        pixels = np.rint(units).astype(np.uint16 if bits == 16 else np.uint8)
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    stream = io.BytesIO()
    image.save(stream, format=form, **({"quality": 95} if form == "JPEG" else {}))
    return stream.getvalue(), bits
