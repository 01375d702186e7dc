"""Two processes train like one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import distributed_worker as worker
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock

import isthmus
from isthmus.training import distributed, pick_device
from isthmus.training.batches import Rows
from isthmus.training.distributed import ProcessGroup, is_main, join_process_group, started_together

WORKER = Path(worker.__file__)


def torchrun(*arguments, n=2, **options):
    """Run torchrun to its end."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(n)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
        **options,
    )


def two_workers(*arguments):
    """Run the worker in two processes, as torchrun does, without the process that watches them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, WORKER, *map(str, arguments)],
            env={**os.environ, **shared, "OMP_NUM_THREADS": "1", "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    try:
        errors = [process.communicate(timeout=500)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, error in zip(processes, errors, strict=True):
        assert process.returncode == 0, error[-3000:]


def write_rows(folder):
    """Write the rows as Parquet files of different lengths."""
    folder.mkdir()
    for number, part in enumerate(np.split(worker.X.reshape(500, 64), [120, 330])):
        columns = {f"p{i}": part[:, i] for i in range(64)}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=50)


@pytest.fixture(scope="session")
def answers(tmp_path_factory):
    """Return the results of one process, of two, and of runs resumed by one; computed once."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "process_group"
    with FileLock(f"{shared}.lock"):
        if not shared.is_dir():
            shared.mkdir()
            write_rows(shared / "rows")
            worker.interrupted(shared / "one")
            worker.main(shared / "1.json", shared)
            two_workers(shared / "2.json", shared)
            names = ("two", "shards")
            again = {name: worker.resumed(shared / name) for name in names}
            (shared / "again.json").write_text(json.dumps(again))
    if not (shared / "again.json").is_file():
        pytest.fail("the processes failed; see the error of the first test")
    return [json.loads((shared / f"{name}.json").read_text()) for name in ("1", "2", "again")]


def close(a, b, tolerance):
    """Whether two curves are the same to a relative tolerance."""
    return all(
        np.allclose(a[key], b[key], rtol=tolerance, atol=tolerance)
        for key in ("loss", "valid", "codes")
    )


@pytest.mark.parametrize("kind", worker.KINDS)
def test_two_processes_have_the_loss_curve_of_one(answers, kind):
    one, two, _ = answers
    assert close(one[kind], two[kind], 2e-4)
    assert len(one[kind]["loss"]) == len(two[kind]["loss"])


@pytest.mark.parametrize("kind", worker.LOCAL)
def test_draws_for_local_rows_change_the_loss_only_a_little(answers, kind):
    one, two, _ = answers
    assert np.allclose(one[kind]["loss"], two[kind]["loss"], rtol=0.02)
    assert one[kind]["loss"] != two[kind]["loss"]


@pytest.mark.parametrize("kind", worker.SHARDED)
def test_sharded_weights_have_the_same_loss_curve(answers, kind):
    assert close(answers[1][kind], answers[1][f"fsdp-{kind}"], 2e-4)


@pytest.mark.parametrize("kind", ["partly", "fsdp-partly"])
def test_partial_fit_in_two_processes_has_the_loss_curve_of_one(answers, kind):
    one, two, _ = answers
    assert np.allclose(one["partly"]["loss"], two[kind]["loss"], rtol=2e-4)


def test_rows_are_divided_without_overlap(answers):
    first, second = answers[1]["parts"]
    assert sorted(first + second) == list(range(100))
    assert abs(len(first) - len(second)) <= 15  # a row of each batch of seven


@pytest.mark.parametrize("source", ["one", "two", "shards"])
def test_two_processes_resume_any_checkpoint(answers, source):
    assert close(answers[0]["vae"], answers[1][f"from {source}"], 2e-4)


@pytest.mark.parametrize("source", ["two", "shards"])
def test_one_process_resumes_the_checkpoint_of_two(answers, source):
    assert close(answers[0]["vae"], answers[2][source], 2e-4)


def test_sharded_processes_resume_the_checkpoint_of_one(answers):
    assert close(answers[0]["vae"], answers[1]["one by shards"], 2e-4)


def test_rows_on_disk_have_the_loss_curve_of_one_process(answers):
    assert close(answers[0]["stored"], answers[1]["stored"], 2e-4)


def test_each_process_reads_its_own_part_of_a_stream(answers):
    one, two, _ = answers
    assert one["streamed"]["n"] == two["streamed"]["n"] == 500
    assert np.allclose(one["streamed"]["loss"], two["streamed"]["loss"], rtol=0.1)


def test_bfloat16_has_nearly_the_same_loss(answers):
    for each in answers[:2]:
        assert np.allclose(each["bfloat16"]["loss"], answers[0]["vae"]["loss"], rtol=0.01)


def test_a_search_prunes_the_same_trials_in_all_processes(answers):
    ours, theirs = answers[1]["searched"]
    losses, states = ours
    assert len(states) == 4
    assert {*states} == {"COMPLETE", "PRUNED"}
    assert len(losses) == states.count("COMPLETE")
    assert losses == theirs


def test_only_one_process_writes_to_a_tracker(answers):
    one, two = (each["tracked"] for each in answers[:2])
    assert two["files"] == one["files"] == 1
    assert two["tags"] == one["tags"] != []
    assert np.allclose(one["loss"], two["loss"], rtol=1e-4)


def test_processes_without_random_state_use_the_same_seed(answers):
    assert len(answers[1]["seeds"]) == 2
    assert len({*answers[1]["seeds"]}) == 1


MESSAGES = {
    "batch": "set batch_size to at least 2",
    "rows": "needs at least 2 rows",
    "other rows": "be given the same X or y",
    "more rows": "be given the same X or y",
    "other settings": "be given the same settings",
    "other callbacks": "must be passed in every process",
    "sharded scale": "set likelihood='gaussian-per-feature'",
    "sharded units": "use strategy='ddp', or dictionary=False",
    "stopped": "143",
}


@pytest.mark.parametrize("case", MESSAGES)
def test_errors_are_one_line_in_all_processes(answers, case):
    for messages in answers[1]["errors"]:
        assert MESSAGES[case] in messages[case]
        assert "\n" not in messages[case]


def test_scaling_learned_from_the_first_rows_is_the_same_in_all_processes(answers):
    first, second = answers[1]["scaled"]
    assert first == second


def test_a_single_process_has_the_trivial_group():
    process_group = join_process_group("auto", torch.device("cpu"))
    assert type(process_group) is ProcessGroup
    assert is_main()
    assert not started_together()
    assert process_group.gather_objects(3) == [3]
    assert process_group.first_not_none(None) is None


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_strategies_for_several_processes_need_several(strategy):
    with pytest.raises(ValueError, match="torchrun --nproc-per-node"):
        join_process_group(strategy, torch.device("cpu"))


@pytest.mark.parametrize("n", range(2, 40))
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_process_has_a_row_of_every_batch(n, size):
    if n < size:
        with pytest.raises(ValueError, match=f"{size} processes cannot share {n} rows"):
            Rows(torch.zeros(n, 1)).shared_by(size)
        return
    sizes = Rows(torch.zeros(n, 1)).shared_by(size).sizes(8)
    assert sum(sizes) == n
    assert min(sizes) >= size
    process_group = ProcessGroup()
    for process_group.size in (size,):
        for process_group.rank in range(size):
            assert all(
                process_group.local_slice(m).stop > process_group.local_slice(m).start
                for m in sizes
            )


def test_without_accelerate_the_error_names_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ImportError, match=r"needs accelerate: pip install 'isthmus\[scale\]'\.$"):
        join_process_group("auto", torch.device("cpu"))


def test_a_process_without_its_own_gpu_raises(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ValueError, match="process 2 has no GPU: this machine has 1"):
        pick_device("cuda")


def test_rank_zero_of_an_existing_group_is_main(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        assert is_main() == (rank == 0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({}, "DistributedType.NO"), ({"mixed_precision": "bf16"}, "another precision")],
)
def test_accelerators_with_another_configuration_raise(options, reason):
    accelerate = pytest.importorskip("accelerate")
    process_group = ProcessGroup()
    process_group.device, process_group.size = torch.device("cpu"), 2

    def reset():
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
        distributed._accelerator.cache_clear()

    reset()
    try:
        accelerate.Accelerator(cpu=True, **options)
        message = rf"in a way that does not copy the model \({reason}\)"
        with pytest.raises(ValueError, match=message):
            process_group.wrap(torch.nn.Linear(2, 2))
    finally:
        reset()


@pytest.mark.slow
def test_connection_errors_are_translated_only_with_several_processes():
    process_group = ProcessGroup()
    with pytest.raises(RuntimeError, match="gloo"), process_group.translate_errors():
        raise RuntimeError("gloo: closed by peer")
    process_group.size = 2
    with pytest.raises(ConnectionError, match="another process"), process_group.translate_errors():
        raise RuntimeError("gloo: closed by peer")


def test_an_error_of_the_main_process_is_one_line_and_ends_all(tmp_path):
    pytest.importorskip("accelerate")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    done = torchrun("-m", "isthmus", "fit", "digits", "--out", "mine", cwd=tmp_path)
    assert done.returncode == 1
    lines = [
        line for line in done.stderr.splitlines() if line.startswith(("isthmus fit:", "[rank"))
    ]
    # Where the other process is not ended at once, it says that this one has ended.
    own = [line for line in lines if "another process of this run has ended" not in line]
    assert len(own) == 1
    assert "mine" in own[0]


def worker_in(folder, rank):
    """Return the id of the process of a rank that runs in a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            here = (process / "cwd").resolve() == folder.resolve()
            environment = (process / "environ").read_text().split("\0")
        except OSError:
            continue
        if here and f"RANK={rank}" in environment:
            return int(process.name)
    raise AssertionError(f"there is no process {rank}")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize(("rank", "out"), [(1, ["--out", "mine"]), (0, []), (1, [])])
def test_a_killed_process_restarts_and_the_run_finishes(tmp_path, rank, out):
    run = ["-m", "isthmus", "fit", "digits", "--epochs", "40", "--random-state", "0", "--quiet"]
    run += ["--patience", "99", "--checkpoint-every", "0", "--batch-size", "16", *out]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [*command, "--max-restarts", "2", *run],
            cwd=tmp_path,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    folder = tmp_path / (out[-1] if out else "runs/digits-vae")
    until = time.monotonic() + 200
    while not (folder / "checkpoint-1.safetensors").is_file() and time.monotonic() < until:
        assert running.poll() is None, (tmp_path / "log").read_text()[-3000:]
        time.sleep(0.02)
    os.kill(worker_in(tmp_path, rank), signal.SIGKILL)
    assert running.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-3000:]
    assert not (tmp_path / "runs" / "digits-vae-2").exists()
    alone = [word for word in run if word not in out]
    subprocess.run([sys.executable, *alone, "--out", "alone"], cwd=tmp_path, check=True)
    losses = [
        [record["loss"] for record in isthmus.load(path).history_]
        for path in (folder, tmp_path / "alone")
    ]
    assert np.allclose(*losses, rtol=2e-3)
    assert len(losses[0]) == 40
