"""Encode a Ray data set with a saved run; each worker loads the model once.

    isthmus fit digits --out RUN
    python examples/ray_encode.py RUN [--rows 1000]

Requires `pip install 'ray[data]'`. It runs on one machine; on a cluster, ray.init connects to it.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import ray
import ray.data
from sklearn.datasets import load_digits

from isthmus.bulk import Encode


def encode(dataset: Any, run: str, workers: int = 1) -> Any:
    """Return the codes of a data set with the columns id and pixels."""
    return dataset.map_batches(
        Encode,
        fn_constructor_args=(run,),
        fn_constructor_kwargs={"column": "pixels", "keep": ["id"]},
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers),
    )


def main() -> None:
    """Encode digits and print some of the codes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--rows", type=int, default=1000)
    arguments = parser.parse_args()
    ray.init(num_cpus=1, include_dashboard=False)
    X = (load_digits().images / 16).astype(np.float32)[: arguments.rows]
    dataset = ray.data.from_items([{"id": i, "pixels": row} for i, row in enumerate(X)])
    print(encode(dataset, arguments.run).to_pandas().sort_values("id").head())


if __name__ == "__main__":
    main()
