"""Commands on runs that were fitted on windows of a time series."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus._messages import say

__all__ = ["detect_series", "impute_series", "time_column"]

Array = NDArray[Any]
SHOWN = 5  # segments that are printed
SHOWN_CHANNELS = 14  # lines of the summary
NORMAL_QUANTILE = 1.645  # of 90% intervals


def time_column(run: str | Path) -> str | None:
    """Return the column of times of the series that a run was fitted on; None for other runs."""
    from isthmus.persistence.run_folder import read_config

    return (read_config(Path(run)).get("data") or {}).get("time_column")


def detect_series(arguments: argparse.Namespace) -> int:
    """Score the rows of a time series; write the scores, the segments and a picture."""
    from isthmus._optional import import_optional
    from isthmus.cli._console import number_text, print_table
    from isthmus.cli._run_data import load_model
    from isthmus.cli._scores import (
        DEFAULT_TABLE,
        check_writable,
        is_labelled,
        quality,
        write_table,
    )
    from isthmus.cli._sheets import write_figure
    from isthmus.plots import time_series
    from isthmus.runs.series import series_detector_of_run

    import_optional("pandas", extra="tables", what="a table of segments")
    if arguments.score not in ("reconstruction", "whitened"):
        raise ValueError(f"--score {arguments.score} is not for time series; omit it.")
    if len(arguments.data) > 1:
        raise ValueError("name one time series at a time.")
    out = Path(arguments.out or DEFAULT_TABLE)
    check_writable(out)
    model = load_model(arguments, arguments.device)
    table = _read(arguments, arguments.data[0], arguments.label)
    normal = None if arguments.normal is None else _read(arguments, arguments.normal, None)
    rate = arguments.false_alarm_rate
    contamination = arguments.contamination or ("auto" if rate is None else "conformal")
    detector, origin = series_detector_of_run(
        arguments.run,
        model,
        normal,
        arguments.normal or "",
        contamination=contamination,
        false_alarm_rate=rate or 0.01,
        data_home=arguments.data_home,
    )
    series = table.series
    parts = detector.anomaly_map(series)
    score = parts.sum(1)
    if is_labelled(arguments) and table.labels is None:
        raise ValueError("--anomalous needs a column of labels: name it by --label COLUMN.")
    labels = {} if table.labels is None else {arguments.label: table.labels}
    columns = {
        str(arguments.time_column or time_column(arguments.run)): table.times,
        **labels,
        "anomaly_score": score,
        "pvalue": detector.pvalues(score),
        "prediction": np.where(score > -detector.offset_, -1, 1),
        "channel": np.array(series.names)[np.nan_to_num(parts).argmax(1)],
    }
    segments = detector.segments(series)
    numbers: dict[str, Any] = {
        "rows": len(table.times),
        "flagged": int((columns["prediction"] == -1).sum()),
        "segments": len(segments),
        "threshold": -detector.offset_,
        "window": detector.window_,
        "calibrated on": f"{len(detector.calibration_scores_):,} {origin}",
    }
    if is_labelled(arguments):
        known = ~np.isnan(score)
        kept = {name: columns[name][known] for name in ("anomaly_score", "prediction")}
        numbers |= quality(table.labels[known], kept, arguments)
    print_table(f"anomalies in {Path(arguments.data[0]).stem}", numbers)
    worst = segments.sort_values("score", ascending=False)
    for row in worst.head(SHOWN).itertuples():
        text = f"score {number_text(float(row.score))}, {row.channels}"
        say(f"flagged: {row.start} to {row.end} ({text})")
    write_table(out, columns)
    beside = out.with_name(f"{out.stem}-segments{out.suffix}")
    write_table(beside, {name: _as_cells(segments[name]) for name in segments})
    shown = np.full(len(series.values), np.nan)
    shown[series.rows] = score
    ends = (_as_drawn(segments[name]) for name in ("start", "end"))
    sheet = time_series(
        series.values,
        series.times,
        names=series.names,
        score=shown,
        threshold=-detector.offset_,
        segments=[*zip(*ends, strict=True)],
        heading=f"{len(segments)} segments in {Path(arguments.data[0]).stem}",
    )
    write_figure(sheet, out.with_suffix(".png"))
    say(f"written to {out}, {beside}")
    return 0


def impute_series(arguments: argparse.Namespace) -> int:
    """Fill the gaps of a time series; write it with standard deviations, and a picture."""
    from isthmus.applications.series_filling import SeriesImputer
    from isthmus.cli._console import print_table
    from isthmus.cli._run_data import load_model
    from isthmus.cli._scores import TABLES, write_table
    from isthmus.cli._sheets import check_out, write_figure
    from isthmus.plots import time_series
    from isthmus.runs.series import own_series

    for flag, given in (("--mask", arguments.mask), ("--rows", arguments.rows)):
        if given is not None:
            raise ValueError(f"{flag} is not for time series; omit it.")
    source = Path(arguments.data)
    suffix = ".parquet" if source.suffix.lower() == ".parquet" else ".csv"
    out = check_out(
        arguments.out,
        Path(arguments.run) / f"{source.stem}-imputed{suffix}",
        suffixes=[*TABLES],
    )
    if out.exists() and not arguments.force:
        raise ValueError(f"{out} already exists; add --force to replace it.")
    window = load_model(arguments).feature_shape_[-1]
    table = _read(arguments, arguments.data, arguments.label)
    series = table.series
    gaps = np.isnan(series.values[series.rows])
    if not gaps.any():
        raise ValueError(f"{source} has no missing values: leave cells empty.")
    imputer = SeriesImputer(window=window).fit(own_series(arguments.run, arguments.data_home)[0])
    values, std = imputer.impute(series)
    columns = {str(arguments.time_column or time_column(arguments.run)): table.times}
    columns |= {} if table.labels is None else {arguments.label: table.labels}
    columns |= dict(zip(series.names, values.T, strict=True))
    spreads = {f"{name}_std": s for name, s in zip(series.names, std.T, strict=True) if s.any()}
    if twice := [name for name in spreads if name in columns]:
        raise ValueError(f"the column {twice[0]!r} has the name of an output; rename it.")
    filled = gaps & ~np.isnan(values)
    numbers: dict[str, Any] = {
        "rows": len(values),
        "values imputed": int(filled.sum()),
        "values left missing": int((gaps & ~filled).sum()),
        "window": window,
    }
    for name, s, hole in zip(series.names, std.T, filled.T, strict=True):
        if hole.any() and len(numbers) < SHOWN_CHANNELS:
            numbers[f"{name}: median standard deviation"] = float(np.median(s[hole]))
    print_table(f"{source.stem}, imputed", numbers)
    write_table(out, columns | spreads)
    drawn, band = (np.full(series.values.shape, np.nan) for _ in range(2))
    drawn[series.rows], band[series.rows] = values, NORMAL_QUANTILE * std
    drawn[~np.isnan(series.values)] = np.nan
    sheet = time_series(
        series.values,
        series.times,
        names=series.names,
        model=drawn,
        low=drawn - band,
        high=drawn + band,
        model_label="imputed, with its 90% interval",
        heading=f"{int(filled.sum())} imputed values in {source.stem}",
    )
    write_figure(sheet, out.with_suffix(".png"))
    say(f"written to {out}")
    return 0


def _read(arguments: argparse.Namespace, path: str, label: str | None) -> Any:
    """Return a series as the run takes it; a label of the run's own data is no channel."""
    from isthmus.cli._run_data import table_options
    from isthmus.runs.series import series_for_run

    return series_for_run(
        arguments.run,
        path,
        time=arguments.time_column,
        label=label,
        table=table_options(arguments),
    )


def _as_cells(column: Any) -> Array:
    """Return a column of a data frame as numbers, or as text."""
    return column.to_numpy() if column.dtype.kind in "iuf" else column.astype(str).to_numpy()


def _as_drawn(times: Any) -> Any:
    """Return times in the unit of the axis: dates in UTC."""
    zoned = getattr(times.dtype, "tz", None) is not None
    return (times.dt.tz_convert("UTC").dt.tz_localize(None) if zoned else times).to_numpy()
