"""Flags of ``isthmus denoise``."""

from __future__ import annotations

from typing import Any

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the verb."""
    denoise = commands.add_parser(
        "denoise",
        help="clean pictures and sounds by a saved run",
        description="Clean pictures and sounds by a run that was fitted on clean ones. Size, "
        "sample rate, bits and channels of a file are kept; FLAC, Ogg and MP3 become WAV; the "
        "input is never replaced.",
        epilog="Examples:  isthmus denoise RUN scan.png   isthmus denoise RUN *.wav --out clean/",
        allow_abbrev=False,
    )
    denoise.add_argument("run", metavar="RUN", help="a folder that `isthmus fit` wrote")
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
