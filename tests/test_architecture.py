"""The drawing of the rooms in ARCHITECTURE.md, held true by import-linter."""

from __future__ import annotations

import configparser
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[1]


def test_imports_keep_to_the_contracts() -> None:
    status = lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True, is_debug_mode=False)
    assert status == EXIT_STATUS_SUCCESS


def test_every_part_is_in_the_contract_that_keeps_it_independent() -> None:
    """A new student, objective, adapter or augmenter file must be listed, or said here to be shared."""
    from potstill.objectives import OBJECTIVES
    from potstill.students import STUDENTS
    from potstill.teachers import TEACHERS
    from potstill.transfer.augment import AUGMENTERS

    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    shared = {"potstill.objectives.kd", "potstill.objectives.logit_mse", "potstill.teachers.sklearn"}
    rooms = {"students": STUDENTS, "objectives": OBJECTIVES, "teachers": TEACHERS, "augmenters": AUGMENTERS}
    for room, parts in rooms.items():
        listed = set(contracts[f"importlinter:contract:{room}"]["modules"].split())
        assert {part.__module__ for part in parts.values()} - shared == listed


def test_architecture_names_every_room() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = ROOT / "src" / "potstill"
    rooms = [f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()]
    files = [path.name for path in package.glob("*.py") if path.name != "__init__.py"]
    assert [name for name in (*rooms, *files) if f"  {name} " not in page] == []
