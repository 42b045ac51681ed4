"""What raw rows become before a student sees them: one Encoder a file, said in numpy and as ONNX nodes.

========== ======================================================================
tabular    tables: numbers, booleans, dates and categories
text       texts: words and word pieces, beside the columns of a table
========== ======================================================================
"""

from potstill.modalities.tabular import TabularEncoder
from potstill.modalities.text import TextEncoder

__all__ = ["TabularEncoder", "TextEncoder"]
