"""``isthmus denoise``: a run and noisy files in, clean files out."""

from __future__ import annotations

import argparse
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isthmus.cli._options import add_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.applications.denoising import Denoiser
    from isthmus.data.wav import AudioClip
    from isthmus.estimators import LatentEstimator

__all__ = ["add_parser", "run"]

WRITTEN = {".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF"}
AS_PNG = (".gif", ".webp")  # of few colours, or lossy: the result is written as PNG


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    denoise = subparsers.add_parser(
        "denoise",
        help="clean pictures and sounds by a saved run",
        description="Clean pictures and sounds by a run that was fitted on clean ones. Size, "
        "sample rate, bits and channels of a file are kept; FLAC, Ogg and MP3 become WAV; the "
        "input is never replaced.",
        epilog="Examples:  isthmus denoise RUN scan.png   isthmus denoise RUN *.wav --out clean/",
    )
    add_run(denoise)
    denoise.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="pictures (png, jpg, ...) and sounds (wav, flac, ogg, mp3)",
    )
    denoise.add_argument(
        "--out",
        metavar="PATH",
        help="a folder for the results, or the name of the only one (default: NAME-denoised next "
        "to each file)",
    )
    denoise.add_argument(
        "--patches",
        action="store_true",
        help="clean pictures of any size by overlapping patches, for runs fitted on patches",
    )
    denoise.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of a window or patch that the next one also covers (default: 0.5)",
    )
    denoise.add_argument(
        "--rate",
        type=int,
        metavar="HZ",
        help="sample rate that the run learned from (default: what the run has on record)",
    )
    denoise.add_argument("--force", action="store_true", help="replace results that are there")


def run(arguments: argparse.Namespace) -> int:
    """Clean each file, write it, say so; return the exit code."""
    from isthmus.data.audio_codecs import AUDIO_SUFFIXES
    from isthmus.data.windows import Windows
    from isthmus.estimators import model_io
    from isthmus.persistence.atomic import write_atomic
    from isthmus.persistence.run_folder import read_config

    Windows((1,), arguments.overlap)  # a share out of bounds is said before any work
    if arguments.rate is not None and arguments.rate < 1:
        raise ValueError(f"--rate must be at least 1 hertz, got {arguments.rate}.")
    sources = [Path(file) for file in arguments.files]
    targets = _targets(sources, arguments.out, arguments.force)
    estimator = model_io.load(arguments.run)
    rate = arguments.rate or (read_config(Path(arguments.run)).get("data") or {}).get("rate")
    for source, target in zip(sources, targets, strict=True):
        if source.suffix.lower() in AUDIO_SUFFIXES:
            content, said = _sound(estimator, source, rate, arguments.overlap)
        else:
            content, said = _picture(estimator, source, target, arguments)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)
        print(f"{source} -> {target}: {said}")
    return 0


def _targets(sources: list[Path], out: str | None, force: bool) -> list[Path]:
    """Return where each result goes; a one-line error where it may not."""
    from isthmus.data.audio_codecs import AUDIO_SUFFIXES
    from isthmus.data.images import IMAGE_SUFFIXES

    for source in sources:
        if not source.is_file():
            raise ValueError(f"{source}: there is no such file; check the name.")
        if source.suffix.lower() not in (*AUDIO_SUFFIXES, *IMAGE_SUFFIXES):
            known = ", ".join(sorted(ext[1:] for ext in (*AUDIO_SUFFIXES, *IMAGE_SUFFIXES)))
            raise ValueError(f"{source}: expected a picture or a sound ({known}); convert it.")
    targets = [_target(source, out, len(sources)) for source in sources]
    twice = [path for path, count in Counter(targets).items() if count > 1]
    if twice:
        raise ValueError(f"two files would be written to {twice[0]}; denoise them one by one.")
    for target in targets:
        if target.resolve() in [source.resolve() for source in sources]:
            raise ValueError(f"{target} is itself to be denoised; name another --out.")
        if target.is_dir():
            raise ValueError(f"{target} is a folder; name another --out.")
        if target.exists() and not force:
            raise ValueError(f"{target} is there already; add --force to replace it.")
    return targets


def _target(source: Path, out: str | None, n_sources: int) -> Path:
    from isthmus.data.audio_codecs import AUDIO_SUFFIXES, COMPRESSED_SUFFIXES
    from isthmus.data.images import IMAGE_SUFFIXES

    suffix = _suffix(source)
    if out is None:
        return source.with_name(f"{source.stem}-denoised{suffix}")
    folder = Path(out)
    is_file = folder.suffix.lower() in (*AUDIO_SUFFIXES, *IMAGE_SUFFIXES) and not folder.is_dir()
    if not is_file:
        return folder / f"{source.stem}{suffix}"
    if n_sources > 1:
        raise ValueError(f"--out {out} names one file, but there are {n_sources}: name a folder.")
    if folder.suffix.lower() in (*AS_PNG, *COMPRESSED_SUFFIXES) or (
        (folder.suffix.lower() in AUDIO_SUFFIXES) != (suffix.lower() in AUDIO_SUFFIXES)
    ):
        raise ValueError(f"--out {out}: the result of {source} is written as {suffix}.")
    return folder


def _suffix(source: Path) -> str:
    """Return the ending of a result: that of its source, where it can be written as such."""
    from isthmus.data.audio_codecs import COMPRESSED_SUFFIXES

    if source.suffix.lower() in AS_PNG:
        return ".png"
    return ".wav" if source.suffix.lower() in COMPRESSED_SUFFIXES else source.suffix


def _sound(
    estimator: LatentEstimator, source: Path, rate: int | None, overlap: float
) -> tuple[bytes, str]:
    from isthmus.applications.denoising import denoise_audio
    from isthmus.data.audio_codecs import read_audio
    from isthmus.data.wav import AudioClip, wav_bytes

    noisy = read_audio(source)
    try:
        samples = denoise_audio(estimator, noisy.samples, noisy.rate, rate, overlap=overlap)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    content, n_cut = wav_bytes(AudioClip(samples, noisy.rate, noisy.kind))
    return content, "; ".join([_described(noisy), *_remarks(noisy, rate, n_cut)])


def _described(sound: AudioClip) -> str:
    channels, time = sound.samples.shape
    return (
        f"{time / sound.rate:.2f} s, {sound.rate} Hz, {channels} channel{'s' * (channels > 1)}, "
        f"{sound.kind[1:]} bits"
    )


def _remarks(sound: AudioClip, rate: int | None, n_cut: int) -> list[str]:
    remarks = []
    if rate is None:
        remarks.append("the run has no sample rate on record, the file's was taken (see --rate)")
    elif rate != sound.rate:
        lost = f", what is above {rate // 2} Hz is gone" if rate < sound.rate else ""
        remarks.append(f"resampled to the run's {rate} Hz and back{lost}")
    if n_cut:
        remarks.append(f"{n_cut} samples were too loud for the file and cut off")
    return remarks


def _picture(
    estimator: LatentEstimator, source: Path, target: Path, arguments: argparse.Namespace
) -> tuple[bytes, str]:
    import numpy as np
    from PIL import ImageOps
    from sklearn.frozen import FrozenEstimator

    from isthmus.applications.denoising import Denoiser
    from isthmus.data.images import open_image, to_rgb

    channels, *sides = _picture_shape(estimator, source, arguments.run)
    with open_image(source) as image:
        transparent = image.has_transparency_data
        upright = ImageOps.exif_transpose(image)
        pixels = np.moveaxis(np.asarray(to_rgb(upright)), -1, 0)  # (3, height, width)
    if not arguments.patches and list(pixels.shape[1:]) != sides:
        raise ValueError(
            f"{source}: expected {sides[0]} x {sides[1]} pixels (height x width) as {arguments.run}"
            f" learned from, got {pixels.shape[1]} x {pixels.shape[2]}; resize it, or add "
            "--patches if the run was fitted on patches of pictures."
        )
    patch_size = tuple(sides) if arguments.patches else None
    denoiser = Denoiser(
        FrozenEstimator(estimator), patch_size=patch_size, overlap=arguments.overlap
    )
    cleaned = _cleaned(denoiser, pixels, estimator.feature_shape_, channels)
    said = f"{pixels.shape[1]} x {pixels.shape[2]} pixels, {'grey' if len(cleaned) == 1 else 'RGB'}"
    return _encoded(cleaned, target), said + "; laid on white" * transparent


def _picture_shape(estimator: LatentEstimator, source: Path, run: str) -> tuple[int, ...]:
    """Return channels, height and width of what the estimator learned from."""
    import numpy as np

    shape = estimator.feature_shape_
    shape = shape if len(shape) == 3 else (1, *shape)
    if len(shape) != 3 or shape[0] not in (1, 3) or shape[1] == 1:
        raise ValueError(
            f"{source}: {run} was fitted on examples of shape {estimator.feature_shape_}, which "
            "are no pictures; fit a run on pictures."
        )
    if np.max(estimator.scaler_.shift) > 1:
        raise ValueError(
            f"{source}: {run} was fitted on pixels beyond [0, 1]; fit it on bytes or on [0, 1]."
        )
    return shape


def _cleaned(
    denoiser: Denoiser, pixels: NDArray[Any], shape: tuple[int, ...], channels: int
) -> NDArray[Any]:
    """Return the cleaned bytes, (1 or 3, height, width); a grey model does each colour."""
    grey = bool((pixels == pixels[:1]).all())
    if channels == 3:
        return denoiser.transform(pixels[None])[0]
    planes = pixels[:1] if grey else pixels
    rows = planes[:, None] if len(shape) == 3 else planes
    return denoiser.transform(rows).reshape(planes.shape)


def _encoded(pixels: NDArray[Any], target: Path) -> bytes:
    import numpy as np
    from PIL import Image

    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1))
    stream = BytesIO()
    form = WRITTEN.get(target.suffix.lower(), "PNG")
    image.save(stream, format=form, **({"quality": 95} if form == "JPEG" else {}))
    return stream.getvalue()
