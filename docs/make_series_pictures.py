"""Draw the pictures of docs/series.md.

python docs/make_series_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from isthmus.applications import SeriesDetector
from isthmus.plots import time_series

IMAGES = Path(__file__).parent / "images" / "series"


def sensors() -> pd.DataFrame:
    """Return three weeks of three sensors, ten minutes apart, with three faults and a gap."""
    rng, n = np.random.default_rng(0), 3 * 7 * 144
    day = 2 * np.pi * np.arange(n) / 144
    flow = 2 + np.sin(day) + 0.4 * np.sin(2 * day) + rng.normal(0, 0.08, n)
    pressure = 5 + 0.8 * np.sin(day - 0.4) + rng.normal(0, 0.08, n)
    heat = 20 + 2 * np.sin(day - 1.2) + rng.normal(0, 0.2, n)
    pressure[900:960] += 1.0  # a shift of the level
    heat[1700:1844] = 20 + rng.normal(0, 0.2, 144)  # a day without its cycle
    flow[2500] += 2.5  # a spike
    frame = pd.DataFrame({"flow": flow, "pressure": pressure, "heat": heat})
    frame.index = pd.date_range("2024-05-01", periods=n, freq="10min", name="timestamp")
    frame.iloc[2100:2160] = np.nan
    return frame


def detection() -> None:
    frame = sensors()
    detector = SeriesDetector().fit(frame)
    segments = detector.segments(frame)
    print(segments.to_string())
    sheet = time_series(
        frame,
        frame.index,
        names=frame.columns,
        score=detector.anomaly_score(frame),
        threshold=-detector.offset_,
        segments=[*zip(segments["start"], segments["end"], strict=True)],
        heading=f"{len(segments)} segments; window {detector.window_reason_}",
    )
    sheet.savefig(IMAGES / "detection.png", dpi=120)


if __name__ == "__main__":
    IMAGES.mkdir(parents=True, exist_ok=True)
    detection()
