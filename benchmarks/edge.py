"""What artifacts take as C files: flash and stack as a compiler says, and the distance of their answers.

    python benchmarks/edge.py income.onnx --rows income.parquet
    python benchmarks/edge.py income.onnx --cc "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb"

Answers are compared where the compiler makes code for this machine; a tenth of the cells of the rows is made
missing, infinite or never seen first.
"""

from __future__ import annotations

import argparse
import ctypes
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from potstill.artifact import Model, load
from potstill.artifact.columns import feeds
from potstill.export.c99 import write_c

STRICT = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
C_TYPES = {
    "numeric": ctypes.c_float,
    "boolean": ctypes.c_float,
    "categorical": ctypes.c_char_p,
    "date": ctypes.c_double,
}


def taken(source: Path, compiler: list[str]) -> tuple[int, int]:
    """Bytes of flash and of stack of a C file called model.c."""
    arguments = [*compiler, *STRICT, "-Os", "-fno-pic", "-fstack-usage", "-c", "model.c"]
    subprocess.run(arguments, cwd=source.parent, check=True)
    size = compiler[0].replace("gcc", "size")
    told = subprocess.run(
        [size, "model.o"], cwd=source.parent, check=True, capture_output=True, text=True
    ).stdout
    text, data, _ = map(int, told.splitlines()[1].split()[:3])
    usage = source.with_suffix(".su").read_text().splitlines()
    stack = next(int(line.split("\t")[1]) for line in usage if "model_predict" in line)
    return text + data, stack


def spoiled(model: Model, rows: pd.DataFrame) -> dict[str, Any]:
    """The rows' inputs, a tenth of the cells replaced by what is hard to answer."""
    rng = np.random.default_rng(0)
    inputs = {name: values.copy() for name, values in feeds(rows, model.schema).items()}
    for values in inputs.values():
        hit = rng.random(len(values)) < 0.1
        if values.dtype == object:
            values[hit] = rng.choice(np.array(["", "never seen", "é"], dtype=object), hit.sum())
        else:
            hard = [np.nan, np.inf, -np.inf, 3e38] if values.dtype == np.float32 else [np.nan]
            values[hit] = rng.choice(np.array(hard, dtype=values.dtype), hit.sum())
    return inputs


def distance(model: Model, source: Path, rows: pd.DataFrame) -> float:
    """The largest difference of an answer."""
    inputs = spoiled(model, rows)
    subprocess.run(
        ["gcc", *STRICT, "-O2", "-shared", "-fPIC", "-o", "model.so", "model.c", "-lm"],
        cwd=source.parent,
        check=True,
    )
    library = ctypes.CDLL(str(source.with_suffix(".so")))

    class Row(ctypes.Structure):
        _fields_ = [(f"f{at}", C_TYPES[each.kind]) for at, each in enumerate(model.schema.columns)]

    wanted = model.outputs(inputs)
    got, output = np.zeros_like(wanted), (ctypes.c_float * wanted.shape[1])()
    for at, row in enumerate(zip(*(inputs[name].tolist() for name in model.schema.names), strict=True)):
        values = [value.encode() if isinstance(value, str) else value for value in row]
        library.model_predict(ctypes.byref(Row(*values)), output)
        got[at] = output
    return float(np.abs(got - wanted).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--cc", default="gcc", help="the compiler with its flags for the machine")
    parser.add_argument("--rows", type=Path, help="Parquet with the models' columns")
    asked = parser.parse_args()
    rows = None if asked.rows is None else pd.read_parquet(asked.rows).tail(2000).reset_index(drop=True)
    print("model                     artifact    flash  tables   stack   largest difference")
    for path in asked.models:
        model = load(path)
        text, footprint = write_c(path.read_bytes(), model.card, name="model")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "model.c")
            source.write_text(text)
            flash, stack = taken(source, shlex.split(asked.cc))
            far = "-" if rows is None else f"{distance(model, source, rows):.1e}"
        sizes = (path.stat().st_size, flash, footprint.flash_bytes)
        shown = " ".join(f"{size / 1000:6.1f} kB" for size in sizes)
        print(f"{path.stem:<24} {shown} {stack:6,} B {far:>10}")


if __name__ == "__main__":
    main()
