"""Runs: fit, tune and evaluate models from data to report, as the command line does."""

from isthmus.runs.check import check_run
from isthmus.runs.data import DataArguments, load_for_run
from isthmus.runs.evaluate import Evaluation, evaluate_run
from isthmus.runs.fit import fit_run
from isthmus.runs.options import Run, RunOptions
from isthmus.runs.report import report_run
from isthmus.runs.rescue import SaveError
from isthmus.runs.settings import ModelSettings
from isthmus.runs.split import Split, recorded_split, split_dataset
from isthmus.runs.tune import Tuning, sweep_of, tune_run

__all__ = [
    "DataArguments",
    "Evaluation",
    "ModelSettings",
    "Run",
    "RunOptions",
    "SaveError",
    "Split",
    "Tuning",
    "check_run",
    "evaluate_run",
    "fit_run",
    "load_for_run",
    "recorded_split",
    "report_run",
    "split_dataset",
    "sweep_of",
    "tune_run",
]
