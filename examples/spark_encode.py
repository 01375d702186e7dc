"""Encode a Spark data frame with a saved run; each partition loads the model once.

    isthmus fit digits --out RUN
    python examples/spark_encode.py RUN [--rows 1000]

Requires Java and `pip install pyspark`. `local[1]` is this machine; replace it by your cluster.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import SparkSession
from sklearn.datasets import load_digits

from isthmus.bulk import Encode


def encode(frame: Any, run: str) -> Any:
    """Return the codes of a data frame with the columns id and pixels."""
    encoder = Encode(run, column="pixels", keep=["id"])
    return frame.mapInPandas(encoder.frames, schema=encoder.schema(frame))


def main() -> None:
    """Encode digits and print some of the codes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the environment with isthmus
    spark = SparkSession.builder.master("local[1]").getOrCreate()
    X = (load_digits().data / 16).astype(np.float32)[: arguments.rows]
    frame = spark.createDataFrame(
        pd.DataFrame({"id": np.arange(len(X)), "pixels": list(X)}), "id long, pixels array<float>"
    )
    encode(frame, arguments.run).show(5)


if __name__ == "__main__":
    main()
