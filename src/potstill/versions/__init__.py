"""Versions of models, in a plain folder or in MLflow's registry: pushed, promoted, rolled back.

admission.py    what is let in: names, and artifacts whose hash, probe rows and gate pass
gate.py         conditions on what the Card says was measured
manifest.py     what is written down of one model: versions, aliases, history
model_card.py   an artifact as a folder for a hub
mlflow_push.py  an artifact as a version of a model in MLflow's registry
pyfunc.py       what MLflow loads it with again
repository.py   the folder: content-addressed files and one manifest a model
"""

from potstill.versions.gate import Condition, check_gate, figures
from potstill.versions.manifest import Event, Version
from potstill.versions.mlflow_push import Registered, push_to_mlflow
from potstill.versions.model_card import save_model_folder
from potstill.versions.repository import Repository, is_repository

__all__ = [
    "Condition",
    "Event",
    "Registered",
    "Repository",
    "Version",
    "check_gate",
    "figures",
    "is_repository",
    "push_to_mlflow",
    "save_model_folder",
]
