"""Public contract checks: what a new part must pass, whoever wrote it."""

from __future__ import annotations

from potstill.testing.augmenter import check_augmenter
from potstill.testing.objective import check_objective
from potstill.testing.student import check_student
from potstill.testing.teacher import check_teacher

__all__ = ["check_augmenter", "check_objective", "check_student", "check_teacher"]
