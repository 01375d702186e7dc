"""Reproduce published tables: train what is unfinished, and print what is left.

    python reproductions/run.py --all --data-home DIR --minutes 60
    python reproductions/run.py density --data-home DIR
    python reproductions/run.py --list

Jobs run one after another, in the order of the list. They can be stopped at any moment, by Ctrl-C
or when the minutes have passed, and go on where they stopped. Results are saved as JSON in
reproductions/results; `python docs/make_reproductions.py` makes the page of them.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import threading

from common import Job

TABLES = (
    "tutorial_vae",
    "density",
    "importance_weighted",
    "deep_codes",
    "features",
    "disentanglement",
    "anomalies",
    "missing_values",
)


def jobs(tables: list[str]) -> list[Job]:
    """Return the jobs of tables; each table is a module."""
    return [job for table in tables for job in importlib.import_module(table).JOBS]


def describe(job: Job) -> str:
    """Return a line on a job: its epochs so far and its processor hours."""
    progress, planned = job.progress(), job.planned_epochs
    state = "done" if job.done else f"{progress['epochs']:g} of {planned or 'its'} epochs"
    hours = f"{progress['seconds'] / 3600:.2f} of about {job.hours:g} hours"
    return f"{job.table + '/' + job.name:44} {state:24} {hours}"


def run(job: Job, home: str) -> None:
    """Train and measure."""
    model = job.train(home)
    job.save(model, job.measure(model, home), done=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", choices=[*TABLES, []], help="tables to reproduce")
    parser.add_argument("--all", action="store_true", help="all tables")
    parser.add_argument("--data-home", help="folder that contains mnist/ and fashion-mnist/")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument("--list", action="store_true", help="print the state of all jobs, and end")
    parser.add_argument("--only", default="", help="jobs whose name contains this")
    arguments = parser.parse_args()
    tables = arguments.tables or TABLES
    if not (arguments.all or arguments.tables or arguments.list):
        parser.error("name tables, or pass --all or --list.")
    chosen = [job for job in jobs(tables) if arguments.only in job.name]
    if arguments.minutes is not None:  # on this signal, fit writes a checkpoint and ends
        end = threading.Timer(60 * arguments.minutes, os.kill, (os.getpid(), signal.SIGTERM))
        end.daemon = True
        end.start()
    try:
        for job in chosen:
            if not (arguments.list or job.done):
                print(describe(job), flush=True)
                run(job, arguments.data_home)
    finally:
        print("\n".join(map(describe, chosen)))


if __name__ == "__main__":
    main()
