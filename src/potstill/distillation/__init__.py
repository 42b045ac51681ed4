"""The main job: data → teacher → transfer set → student → artifact → evidence.

prepare.py  rows: read, split, encoded, multiplied
teach.py    the teacher's answers, and the transfer set made of them
learn.py    student and twin, searched and fitted
prove.py    the artifact, and what all four models are worth on rows nobody learned from
run.py      these four in a row: `distill`
"""

from potstill.distillation.recipe import Recipe
from potstill.distillation.result import Result
from potstill.distillation.run import distill

__all__ = ["Recipe", "Result", "distill"]
