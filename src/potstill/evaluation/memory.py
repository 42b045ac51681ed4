"""Memory that an artifact takes in the process that serves it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from potstill.errors import PotstillError, UserError

_STATM = Path("/proc/self/statm")
_TIMEOUT_S = 120.0

# A process of its own, so that nothing of this one is in the figure. The first opening pays for the runtime
# and stays open; what the second adds is the artifact's alone.
_PROGRAM = """
import gc, os, sys
import potstill.artifact as artifact

def opened():
    model = artifact.load(sys.argv[1])
    model.verify()
    gc.collect()
    return model

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

models = [opened()]
before = resident()
models.append(opened())
print(resident() - before)
"""


def measure_memory(artifact: bytes) -> int:
    """Bytes of resident memory that opening ``artifact`` and answering a few rows adds to a process.

    Measured in a fresh process in which the runtime is loaded already; a matter of a second.

    Raises
    ------
    UserError
        This system does not say how much memory a process holds.
    """
    if not _STATM.exists():
        raise UserError(
            f"Memory cannot be measured here: there is no {_STATM}.",
            hint="Leave the memory out of the budget, or run on Linux.",
        )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "model.onnx"
        place.write_bytes(artifact)
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(place)],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        raise PotstillError(f"Measuring the artifact's memory failed: {done.stderr.strip()[-500:]}")
    return max(0, int(done.stdout))
