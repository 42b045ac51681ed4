"""An artifact as one C99 file, for where no ONNX Runtime fits: its nodes one after the other, for one row.

trace.py      the graph of one row: every value's shape and type, constants folded
loops.py      C text: tables, and loops over broadcast shapes
operators.py  ONNX operator → C statements
trees.py      tree ensembles → tables and one loop
source.py     all of it → the file, and what it takes of flash and memory
"""

from potstill.export.c99.source import Footprint, write_c

__all__ = ["Footprint", "write_c"]
