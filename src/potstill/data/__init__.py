"""From files, frames and arrays to rows with a schema, a task, a split and a hash.

========== ======================================================================
read       paths, frames and arrays → one narwhals frame
columns    one column → numbers, days, texts: what a value means
schema     which columns a model takes and what they are
labels     the task, and labels as numbers
align      rows made to match the training data's
dataset    all of that together: `load_dataset`
split      train, validation and test; the folds of cross-fitting
hashing    a digest of a dataset's content
========== ======================================================================
"""

from potstill.data.dataset import Loaded, load_dataset
from potstill.data.hashing import content_hash
from potstill.data.labels import encode_labels, infer_task
from potstill.data.read import read_rows
from potstill.data.schema import describe_schema, infer_schema
from potstill.data.split import Split, fold_ids, split

__all__ = [
    "Loaded",
    "Split",
    "content_hash",
    "describe_schema",
    "encode_labels",
    "fold_ids",
    "infer_schema",
    "infer_task",
    "load_dataset",
    "read_rows",
    "split",
]
