"""The batch maps inside the real Ray and the real Spark, on one machine, by the examples."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import isthmus
from isthmus.applications import AnomalyDetector
from isthmus.bulk import Score

EXAMPLES = Path(__file__).parent.parent / "examples"
X = (load_digits().images / 16).astype(np.float32)[:300]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    isthmus.VAE(n_components=3, hidden=(16,), epochs=2, random_state=0).fit(X).save(folder)
    return folder


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_codes(frame, run):
    frame = frame.sort_values("id")
    np.testing.assert_array_equal(frame["id"], np.arange(len(X)))
    codes = frame[["vae0", "vae1", "vae2"]].to_numpy()
    np.testing.assert_array_equal(codes, isthmus.load(run).transform(X))


@pytest.fixture(scope="module")
def ray():
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def blocks(ray):
    rows = [{"id": i, "pixels": row} for i, row in enumerate(X)]
    return ray.data.from_items(rows, override_num_blocks=2)


def test_ray_gives_the_bits_of_transform(ray, run):
    check_codes(example("ray_encode").encode(blocks(ray), str(run)).to_pandas(), run)


@pytest.mark.parametrize("form", ["numpy", "pandas", "pyarrow"])
def test_ray_scores_batches_of_every_kind(ray, run, form):
    model = isthmus.load(run)
    detector = AnomalyDetector(model, random_state=0).fit(X)
    each = Score(detector, column="pixels", keep=["id"])
    frame = blocks(ray).map_batches(each, batch_format=form).to_pandas().sort_values("id")
    np.testing.assert_array_equal(frame["anomaly_score"], detector.anomaly_score(X))
    np.testing.assert_array_equal(frame["prediction"], detector.predict(X))


@pytest.fixture(scope="module")
def spark():
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = builder.getOrCreate()
    yield session
    session.stop()


def test_spark_gives_the_bits_of_transform(spark, run):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"id": np.arange(len(X)), "pixels": list(X.reshape(len(X), -1))})
    given = spark.createDataFrame(frame, "id long, pixels array<float>").repartition(3)
    answer = example("spark_encode").encode(given, str(run))
    assert answer.dtypes[0] == ("id", "bigint")
    check_codes(answer.toPandas(), run)
