"""What raw rows become before a student sees them: one Encoder a file, said in numpy and as ONNX nodes.

========== ======================================================================
tabular    tables: numbers, booleans, dates and categories
========== ======================================================================
"""

from potstill.modalities.tabular import TabularEncoder

__all__ = ["TabularEncoder"]
