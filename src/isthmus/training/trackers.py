"""TensorBoard and MLflow as trackers.

The libraries are used directly. `accelerate.tracking` (1.15) ends every MLflow run as finished,
writes into whatever run is active, sends no images to MLflow, and adds two TensorBoard runs for
the settings.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from isthmus._messages import did_you_mean
from isthmus._optional import import_optional
from isthmus.persistence.locks import exclusive
from isthmus.training.tracker import Tracker

__all__ = ["MLflow", "TensorBoard", "make_trackers"]


class TensorBoard(Tracker):
    """Write event files for TensorBoard; ``tensorboard --logdir runs`` shows them.

    Parameters
    ----------
    log_dir : path-like
        Folder of this run only; events of an earlier run in it are hidden.
    images : bool
        As for `Tracker`.

    Raises
    ------
    ImportError
        If tensorboard is not installed: ``pip install 'isthmus[track]'``.

    See Also
    --------
    MLflow

    Examples
    --------
    >>> import isthmus
    >>> isthmus.VAE().fit(X, callbacks=[TensorBoard("runs/first")])  # doctest: +SKIP
    """

    def __init__(self, log_dir: str | Path, *, images: bool = True) -> None:
        super().__init__(images=images)
        import_optional("tensorboard", extra="track", what="TensorBoard")
        self.log_dir = Path(log_dir)

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue in the same folder; a different folder gets the whole run."""
        if state["run"] == str(self.log_dir):
            super().load_state(state)

    def start_run(self) -> int:
        """Open the event file; events of later epochs are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        _wait_for_a_new_second(self.log_dir)
        self.writer = SummaryWriter(str(self.log_dir), purge_step=self.last + 1)
        if not self.run:
            self._log_settings()
        self.run = str(self.log_dir)
        return self.last

    def _log_settings(self) -> None:
        """Log the settings in this run; `add_hparams` would create another one."""
        from torch.utils.tensorboard.summary import hparams

        metrics = {"train/loss": 0.0, "valid/loss": 0.0}  # columns of the table of runs
        settings = {name: value for name, value in self.settings.items() if value is not None}
        for summary in hparams(settings, metrics):
            self.writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]

    def log_metrics(self, values: Mapping[str, float], epoch: int) -> None:
        """Log scalars, visible at once."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def log_image(self, name: str, pixels: NDArray[Any], epoch: int) -> None:
        """Log an image."""
        self.writer.add_image(name, pixels, epoch, dataformats="HWC")

    def end_run(self, status: str) -> None:
        """Close the file; TensorBoard has no status."""
        self.writer.close()


class MLflow(Tracker):
    """Log a run to MLflow; ``mlflow ui`` shows it.

    Parameters
    ----------
    tracking_uri : str or path-like, optional
        A server, a database, or a folder, which then holds the database ``mlflow.db`` and the
        images. By default MLflow's own choice: ``MLFLOW_TRACKING_URI``.
    experiment_name : str, optional
        By default ``MLFLOW_EXPERIMENT_NAME``, or "isthmus".
    run_name : str, optional
        By default MLflow chooses one.
    run_id : str, optional
        An existing run to log to; its owner ends it.
    images : bool
        As for `Tracker`.

    Raises
    ------
    ImportError
        If mlflow is not installed: ``pip install 'isthmus[track]'``.

    See Also
    --------
    TensorBoard

    Examples
    --------
    >>> import isthmus
    >>> isthmus.VAE().fit(X, callbacks=[MLflow("http://127.0.0.1:5000")])  # doctest: +SKIP
    """

    def __init__(
        self,
        tracking_uri: str | Path | None = None,
        experiment_name: str | None = None,
        run_name: str | None = None,
        *,
        run_id: str | None = None,
        images: bool = True,
    ) -> None:
        super().__init__(images=images)
        import_optional("mlflow", extra="track", what="MLflow")
        self.tracking_uri = None if tracking_uri is None else str(tracking_uri)
        self.run_name, self.run_id = run_name, run_id
        default = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "isthmus"
        self.experiment_name = experiment_name or default

    def start_run(self) -> int:
        """Create or find the run, without touching the active run."""
        from mlflow.entities import Param

        if (folder := self._folder()) is None:
            self._connect(self.tracking_uri, None)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            busy = f"another process has been creating the database in {folder} for a minute."
            with exclusive(folder / "mlflow.lock", busy, wait=60.0):  # only one may create it
                self._connect(_database(folder), (folder / "artifacts").as_uri())
        known = self.client.get_run(self.run).data.params  # MLflow's parameters cannot change
        new = [Param(k, str(v)) for k, v in self.settings.items() if k not in known]
        self.client.log_batch(self.run, params=new)
        self.client.update_run(self.run, "RUNNING")  # a resumed run may have been ended
        history = self.client.get_metric_history(self.run, "train/loss")
        return max((point.step for point in history), default=0)

    def _folder(self) -> Path | None:
        """Return the folder to write to; None for a server or database."""
        uri = self.tracking_uri
        if uri is None or "://" in uri or uri == "databricks":
            return None
        return Path(uri).absolute()

    def _connect(self, uri: str | None, artifacts: str | None) -> None:
        """Connect to a server or database, and create the run if there is none."""
        from mlflow import MlflowClient

        self.client = MlflowClient(uri)
        self.run = self.run or self.run_id or ""
        if not self.run:
            experiment = self._experiment_id(self.experiment_name, artifacts)
            self.run = self.client.create_run(experiment, run_name=self.run_name).info.run_id

    def _experiment_id(self, name: str, artifacts: str | None) -> str:
        from mlflow.exceptions import MlflowException

        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self.client.create_experiment(name, artifacts)
        except MlflowException:  # another process may have just created it
            if found := self.client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def log_metrics(self, values: Mapping[str, float], epoch: int) -> None:
        """Log metrics."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, epoch) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def log_image(self, name: str, pixels: NDArray[Any], epoch: int) -> None:
        """Log an image as an artifact."""
        self.client.log_image(self.run, pixels, key=name, step=epoch)

    def end_run(self, status: str) -> None:
        """Set the status of the run."""
        if self.run_id is None:
            self.client.set_terminated(self.run, status)


def make_trackers(names: Sequence[str], to: str | None, folder: Path) -> list[Tracker]:
    """Return the trackers of these names for a run's folder.

    `to` is the folder or server of the tracker, if there is only one; by default ``tensorboard``
    within the run's folder, or MLflow's own choice.

    Raises
    ------
    ImportError
        If the library is not installed.
    ValueError
        If `to` is given for several trackers, or for none.
    """
    if to is not None and len(names) != 1:
        raise ValueError(
            f"--track-to {to} is for one tracker, but --track names {len(names)}. For MLflow set "
            "MLFLOW_TRACKING_URI instead."
        )
    makers = {
        "tensorboard": lambda: TensorBoard(to or folder / "tensorboard"),
        "mlflow": lambda: MLflow(to, run_name=folder.name),
    }
    for name in names:
        if name not in makers:
            near = did_you_mean(name, makers)
            raise ValueError(f"unknown tracker {name!r}.{near} Known: {', '.join(makers)}.")
    return [makers[name]() for name in names]


def _wait_for_a_new_second(folder: Path) -> None:
    """Wait until the name of a new event file sorts last: names start with the second.

    TensorBoard may read the later of two files of the same second first, and hide its events.
    """
    end = time.monotonic() + 1.1  # in case the clock goes backwards
    while any(folder.glob(f"*.tfevents.{int(time.time()):010d}.*")) and time.monotonic() < end:
        time.sleep(0.02)


def _database(folder: Path) -> str:
    """Return the address of the database in a folder, with % and ? escaped."""
    path = str(folder / "mlflow.db").replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"
