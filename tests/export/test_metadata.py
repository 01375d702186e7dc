"""What an exported file says about itself, without writing one."""

import json

import numpy as np
import pandas as pd

from isthmus import ConditionalVAE
from isthmus.export.onnx_export import metadata


def test_metadata_state_the_order_of_columns_their_categories_and_classes():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"h": rng.normal(size=40), "k": rng.choice([*"abc"], 40)})
    y = np.where(rng.random(40) < 0.5, "x", "y")
    model = ConditionalVAE(n_components=2, hidden=(4,), epochs=1, random_state=0).fit(frame, y)
    found = {name: json.loads(text) for name, text in metadata(model, "scorer").items()}
    assert found["isthmus.columns"] == [
        {"name": "h", "kind": "number"},
        {"name": "k", "kind": "category", "categories": ["a", "b", "c"]},
    ]
    assert found["isthmus.classes"] == ["x", "y"]
    assert found["isthmus.part"] == "scorer"
    assert "inside the graph" in found["isthmus.scaling"]
