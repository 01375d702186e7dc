"""Load known datasets by name, and arrays, tables, images and audio by path."""

from isthmus.data.column import Column
from isthmus.data.columns import Columns, Table
from isthmus.data.datasets import Dataset, known_datasets, load
from isthmus.data.hf_datasets import DatasetLoader
from isthmus.data.idx import read_idx
from isthmus.data.images import read_image_folder
from isthmus.data.tables import read_table

__all__ = [
    "Column",
    "Columns",
    "Dataset",
    "DatasetLoader",
    "Table",
    "known_datasets",
    "load",
    "read_idx",
    "read_image_folder",
    "read_table",
]
