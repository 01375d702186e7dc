"""Many estimators, threads and processes: no leaks, deadlocks or different results."""

import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV

import isthmus
from isthmus.estimators import ESTIMATORS
from isthmus.training.devices import enough_threads

RNG = np.random.default_rng(0)
X, Y = RNG.random((600, 12)), np.arange(600) % 3
FAST = {"n_components": 3, "hidden": (16,), "epochs": 2, "random_state": 0}
THREADS = 8


def weights(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.model_.parameters()])


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert torch.get_num_threads() == 2
    yield
    torch.set_num_threads(before)


def at_once(work, pool):
    """Return the results of `work(0)`, `work(1)`, … in threads that start together."""
    start = threading.Barrier(THREADS)

    def begin(i):
        start.wait(30)
        return work(i)

    return list(pool.map(begin, range(THREADS)))


# --------------------------------------------------------------------- threads


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_eight_threads_get_the_results_of_one(name, two_threads):
    model = ESTIMATORS[name](**FAST).fit(X, Y)
    methods = [model.transform, model.reconstruct, model.score_samples]
    alone = [method(X) for method in methods]
    with ThreadPoolExecutor(THREADS) as pool:
        for answers in at_once(lambda i: [method(X) for method in methods], pool):
            for mine, expected in zip(answers, alone, strict=True):
                np.testing.assert_array_equal(mine, expected)


def test_eight_simultaneous_fits_give_the_same_bits(two_threads):
    def fit(i):
        settings = FAST | {"random_state": i, "dropout": 0.1}
        return weights(isthmus.VAE(**settings).fit(X))

    state = torch.random.get_rng_state()
    with ThreadPoolExecutor(THREADS) as pool:
        together = at_once(fit, pool)
    for i, mine in enumerate(together):
        np.testing.assert_array_equal(mine, fit(i))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_each_thread_restores_its_number_of_threads(two_threads):
    model = isthmus.VAE(**FAST).fit(X)
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(5):
            at_once(lambda i: model.transform(X[: 50 * (i + 1)]), pool)
            assert at_once(lambda i: torch.get_num_threads(), pool) == [2] * THREADS
        assert torch.get_num_threads() == 2


def test_the_first_thread_to_finish_restores_its_number_too(two_threads):
    small, inside, leave = torch.nn.Linear(2, 2), threading.Event(), threading.Event()
    seen = []

    def train():
        with enough_threads(small, 4):
            inside.set()
            leave.wait(30)
        seen.append(torch.get_num_threads())

    with enough_threads(small, 4):
        other = threading.Thread(target=train)  # it reads 1, since it starts in this block
        other.start()
        inside.wait(30)
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    leave.set()
    other.join()
    assert seen == [2]


def test_a_model_used_during_the_training_of_another_keeps_its_number(two_threads):
    small = torch.nn.Linear(2, 2)
    with enough_threads(small, 4):
        with enough_threads(torch.nn.Conv1d(1, 1, 3), 4):
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


# ------------------------------------------------------------------- processes


def run(code, seconds=120):
    """Run code in a new process; return the last line of its output."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_forked_processes_work_after_torch_ran_threads_and_while_others_train():
    """Without precautions each would wait forever for threads that exist only in the parent."""
    output = run(
        """
        import multiprocessing, os, tempfile, threading
        import numpy as np, torch, isthmus
        from isthmus.distributions.base import isolated_rng

        torch.set_num_threads(2)
        X = np.random.default_rng(0).random((1024, 60))
        settings = dict(n_components=4, hidden=(512,), epochs=1, random_state=0)
        model = isthmus.VAE(**settings).fit(X)
        large = torch.randn(600, 600)
        (large @ large).tanh().sum()  # OpenMP has its threads now
        saved = tempfile.mkdtemp()
        model.save(saved)

        def work():
            again = isthmus.load(saved)
            fitted = isthmus.SparseAutoencoder(**settings | {"hidden": ()}).fit(X)
            return [
                model.transform(X), again.transform(X), model.sample(5000, random_state=0),
                isthmus.VAE(**settings).fit(X).transform(X), fitted.transform(X),
            ]

        def send(connection):
            connection.send([torch.get_num_threads(), work()])

        def in_child():
            ours, theirs = multiprocessing.Pipe()
            child = multiprocessing.get_context("fork").Process(target=send, args=(theirs,))
            child.start()
            assert ours.poll(40), "the forked process hangs"
            threads, answers = ours.recv()
            child.join()
            assert threads == 1
            return answers

        here = work()
        for mine, theirs in zip(here, in_child(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)

        # The same while another thread holds every lock there is.
        held, done = threading.Event(), threading.Event()
        def hold():
            with isolated_rng(torch.Generator()):
                held.set(); done.wait(60)
        threading.Thread(target=hold).start(); held.wait()
        in_child()
        done.set()
        assert torch.get_num_threads() == 2
        print("works")
        """
    )
    assert output == "works"


@pytest.mark.slow
def test_spawned_processes_give_the_same_bits():
    model = isthmus.VAE(**FAST).fit(X)
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(model.transform, (X,)), model.transform(X))
        fitted = pool.apply(isthmus.VAE(**FAST).fit, (X,))
    np.testing.assert_array_equal(weights(fitted), weights(model))


@pytest.mark.slow
def test_joblib_and_a_grid_search_give_the_same_in_one_process_and_in_two():
    model = isthmus.VAE(**FAST).fit(X)
    parts = np.array_split(X, 4)
    codes = joblib.Parallel(n_jobs=2)(joblib.delayed(model.transform)(part) for part in parts)
    np.testing.assert_array_equal(np.concatenate(codes), model.transform(X))
    grid = {"n_components": [1, 3], "learning_rate": [1e-3, 1e-2]}
    one, two = (
        GridSearchCV(isthmus.VAE(**FAST), grid, cv=2, n_jobs=n_jobs).fit(X) for n_jobs in (1, 2)
    )
    for split in ("split0_test_score", "split1_test_score"):
        np.testing.assert_array_equal(one.cv_results_[split], two.cv_results_[split])
    assert one.best_params_ == two.best_params_
    np.testing.assert_array_equal(weights(one.best_estimator_), weights(two.best_estimator_))


# ---------------------------------------------------------------------- memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.slow
def test_two_hundred_estimators_in_turn_leave_no_memory_behind():
    grown = run(
        """
        import gc, os
        import numpy as np, torch
        from isthmus.estimators import ESTIMATORS

        torch.set_num_threads(1)
        rng = np.random.default_rng(0)
        X, y, names = rng.normal(size=(128, 50)), np.arange(128) % 3, sorted(ESTIMATORS)

        def fit(i):
            settings = dict(n_components=3, hidden=(64,), epochs=1, random_state=i)
            model = ESTIMATORS[names[i % len(names)]](**settings).fit(X, y)
            model.transform(X), model.score(X)

        def megabytes():
            gc.collect()
            pages = int(open("/proc/self/statm").read().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

        for i in range(42):
            fit(i)
        before = megabytes()
        for i in range(200):
            fit(i)
        print(megabytes() - before)
        """
    )
    assert float(grown) < 20
