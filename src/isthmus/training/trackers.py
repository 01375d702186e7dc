"""A run's settings, numbers and pictures in TensorBoard, MLflow or trackio.

The libraries are used directly. `accelerate.tracking` would serve one way of writing for all
three, but (1.15) it ends every MLflow run as finished and writes into whatever run is active, takes
no pictures for MLflow and trackio, and leaves TensorBoard two more runs to show for the settings.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from numpy.typing import NDArray

from isthmus._optional import import_optional
from isthmus.training.tracker import Tracker

__all__ = ["MLflow", "TensorBoard", "Trackio", "make_trackers"]


class TensorBoard(Tracker):
    """Write event files for TensorBoard: ``tensorboard --logdir runs``.

    Parameters
    ----------
    log_dir : path-like
        Folder of this run and no other; events of an earlier run in it are hidden.
    pictures : bool
        As for `Tracker`.

    Raises
    ------
    ImportError
        Without tensorboard: ``pip install 'isthmus[track]'``.

    Examples
    --------
    >>> import isthmus
    >>> isthmus.VAE().fit(X, callbacks=[TensorBoard("runs/first")])  # doctest: +SKIP
    """

    def __init__(self, log_dir: str | Path, *, pictures: bool = True) -> None:
        super().__init__(pictures=pictures)
        import_optional("tensorboard", extra="track", what="TensorBoard")
        self.log_dir = Path(log_dir)

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on in the same folder; another is to have the run from its beginning."""
        if state["run"] == str(self.log_dir):
            super().load_state(state)

    def begin(self) -> int:
        """Open the event file; what was written of later epochs is hidden."""
        from torch.utils.tensorboard import SummaryWriter

        _wait_for_a_new_second(self.log_dir)
        self.writer = SummaryWriter(str(self.log_dir), purge_step=self.last + 1)
        if not self.run:
            self._describe()
        self.run = str(self.log_dir)
        return self.last

    def _describe(self) -> None:
        """Write the settings in the run itself, where `add_hparams` would make a run of its own."""
        from torch.utils.tensorboard.summary import hparams

        shown = {"train/loss": 0.0, "valid/loss": 0.0}  # columns of the table of runs
        chosen = {name: value for name, value in self.settings.items() if value is not None}
        for summary in hparams(chosen, shown):
            self.writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Write scalars, for whoever looks at them now."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def picture(self, name: str, pixels: NDArray[Any], epoch: int) -> None:
        """Write an image."""
        self.writer.add_image(name, pixels, epoch, dataformats="HWC")

    def end(self, status: str) -> None:
        """Close the file; TensorBoard knows no status."""
        self.writer.close()


class MLflow(Tracker):
    """Write a run of MLflow: ``mlflow ui`` shows it.

    Parameters
    ----------
    tracking_uri : str or path-like, optional
        A server or database; or a folder, which then holds the database ``mlflow.db`` and the
        pictures; by default where MLflow writes: ``MLFLOW_TRACKING_URI``.
    experiment_name : str, optional
        By default ``MLFLOW_EXPERIMENT_NAME``, or "isthmus".
    run_name : str, optional
        By default MLflow finds one.
    run_id : str, optional
        A run to write in that is there, and that its owner ends.
    pictures : bool
        As for `Tracker`.

    Raises
    ------
    ImportError
        Without mlflow: ``pip install 'isthmus[track]'``.

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
        pictures: bool = True,
    ) -> None:
        super().__init__(pictures=pictures)
        import_optional("mlflow", extra="track", what="MLflow")
        self.tracking_uri = None if tracking_uri is None else str(tracking_uri)
        self.run_name, self.run_id = run_name, run_id
        known = os.environ.get("MLFLOW_EXPERIMENT_NAME")
        self.experiment_name = experiment_name or known or "isthmus"

    def begin(self) -> int:
        """Create the run, or find it; runs that are active elsewhere are left alone."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        folder = self._folder()
        with _alone(folder):
            self.client = MlflowClient(_database(folder) if folder else self.tracking_uri)
            self.run = self.run or self.run_id or self._create(folder)
        known = self.client.get_run(self.run).data.params  # MLflow lets no parameter be changed
        new = [Param(k, str(v)) for k, v in self.settings.items() if k not in known]
        self.client.log_batch(self.run, params=new)
        self.client.update_run(self.run, "RUNNING")  # it may have been ended, and goes on
        history = self.client.get_metric_history(self.run, "train/loss")
        return max((point.step for point in history), default=0)

    def _folder(self) -> Path | None:
        """Return the folder to write to; None where it is a server or database."""
        uri = self.tracking_uri
        if uri is None or "://" in uri or uri == "databricks":
            return None
        return Path(uri).absolute()

    def _create(self, folder: Path | None) -> str:
        artifacts = None if folder is None else (folder / "artifacts").as_uri()
        number = self._experiment(self.experiment_name, artifacts)
        return self.client.create_run(number, run_name=self.run_name).info.run_id

    def _experiment(self, name: str, artifacts: str | None) -> str:
        """Return the number of an experiment, which another process may make at this moment."""
        from mlflow.exceptions import MlflowException

        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self.client.create_experiment(name, artifacts)
        except MlflowException:
            if found := self.client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Write metrics."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(name, value, now, epoch) for name, value in values.items()]
        self.client.log_batch(self.run, metrics=metrics)

    def picture(self, name: str, pixels: NDArray[Any], epoch: int) -> None:
        """Write an image among the run's artifacts."""
        self.client.log_image(self.run, pixels, key=name, step=epoch)

    def end(self, status: str) -> None:
        """Say how it ended."""
        if self.run_id is None:
            self.client.set_terminated(self.run, status)


class Trackio(Tracker):
    """Write a run of trackio: ``trackio show --project isthmus`` shows it.

    Parameters
    ----------
    project : str
    name : str, optional
        Of the run; by default trackio finds one.
    pictures : bool
        As for `Tracker`.
    **options : object
        For `trackio.init`: `group`, `space_id`, `server_url`, … Without one of the last two all
        stays on this machine, in the folder ``TRACKIO_DIR``.

    Raises
    ------
    ImportError
        Without trackio: ``pip install 'isthmus[track]'``.

    Examples
    --------
    >>> import isthmus
    >>> isthmus.VAE().fit(X, callbacks=[Trackio("digits")])  # doctest: +SKIP
    """

    def __init__(
        self,
        project: str = "isthmus",
        name: str | None = None,
        *,
        pictures: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(pictures=pictures)
        import_optional("trackio", extra="track", what="Trackio")
        self.project, self.name = project, name
        self.options = {"embed": False, **options}

    def begin(self) -> int:
        """Begin the run, or go on with it."""
        import trackio

        how = "must" if self.run else "never"
        with _silence():
            # In a context of its own: `init` ends whatever run is active, another tracker's too.
            self.kept = contextvars.Context().run(
                trackio.init,
                self.project,
                self.run or self.name,
                config=self.settings,
                resume=how,
                **self.options,
            )
        self.run = self.kept.name
        # The number of the next point, which is all that trackio tells of what it has.
        return self.kept._next_step - 1 if how == "must" else 0

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Write metrics."""
        self.kept.log(dict(values), step=epoch)

    def picture(self, name: str, pixels: NDArray[Any], epoch: int) -> None:
        """Write an image."""
        import trackio

        self.kept.log({name: trackio.Image(pixels)}, step=epoch)

    def end(self, status: str) -> None:
        """Wait until all is written; trackio knows no status."""
        with _silence():
            self.kept.finish()


def make_trackers(names: Sequence[str], to: str | None, folder: Path) -> list[Tracker]:
    """Return the trackers of a run by their names on the command line.

    Parameters
    ----------
    names : sequence of {"tensorboard", "mlflow", "trackio"}
    to : str, optional
        A folder, or the address of a server, of the only one; by default ``tensorboard`` within
        the run, or where the library writes by itself.
    folder : Path
        Of the run, by whose name MLflow and trackio show it.

    Raises
    ------
    ImportError
        Without the library: ``pip install 'isthmus[track]'``.
    ValueError
        Where `to` is given, and not one name.

    Examples
    --------
    >>> make_trackers([], None, Path("runs/first"))
    []
    """
    if to is not None and len(names) != 1:
        raise ValueError(
            f"--track-to {to} says where one tracker writes, but --track names {len(names)}; for "
            "more set MLFLOW_TRACKING_URI or TRACKIO_DIR."
        )
    return [_make(name, to, folder) for name in names]


def _make(name: str, to: str | None, folder: Path) -> Tracker:
    if name == "tensorboard":
        return TensorBoard(to or folder / name)
    if name == "mlflow":
        return MLflow(to, run_name=folder.name)
    if to is not None and "://" in to:
        return Trackio(name=folder.name, server_url=to)
    if to is not None:
        os.environ["TRACKIO_DIR"] = to  # which it reads once, when it is first imported
    return Trackio(name=folder.name)


def _wait_for_a_new_second(folder: Path) -> None:
    """Let a new file of events come last: they are read by name, where the second comes first.

    Of two files of one second TensorBoard may read the later one first, and hide what it tells.
    """
    end = time.monotonic() + 1.1  # whatever the clock says
    while any(folder.glob(f"*.tfevents.{int(time.time()):010d}.*")) and time.monotonic() < end:
        time.sleep(0.02)


def _database(folder: Path) -> str:
    """Return the address of the database in a folder; % and ? say something in addresses."""
    path = str(folder / "mlflow.db").replace("%", "%25").replace("?", "%3F")
    return f"sqlite:///{path}"


def _alone(folder: Path | None) -> contextlib.AbstractContextManager[Any]:
    """Let no two processes make the tables of a database in a folder, which is made, at once."""
    if folder is None:
        return contextlib.nullcontext()
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "mlflow.lock")


def _silence() -> contextlib.AbstractContextManager[Any]:
    """Keep to itself what trackio prints: standard output is the caller's."""
    return contextlib.redirect_stdout(io.StringIO())
