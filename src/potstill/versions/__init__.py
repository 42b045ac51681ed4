"""Versions of models in a plain folder: pushed, promoted, rolled back.

gate.py         conditions on what the Card says was measured
manifest.py     what is written down of one model: versions, aliases, history
model_card.py   an artifact as a folder for a hub
repository.py   the folder: content-addressed files and one manifest a model
"""

from potstill.versions.gate import Condition, check_gate, figures
from potstill.versions.manifest import Event, Version
from potstill.versions.model_card import save_model_folder
from potstill.versions.repository import Repository, is_repository

__all__ = [
    "Condition",
    "Event",
    "Repository",
    "Version",
    "check_gate",
    "figures",
    "is_repository",
    "save_model_folder",
]
