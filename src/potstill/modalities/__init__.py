"""What raw rows become before a student sees them: one Encoder a file, said in numpy and as ONNX nodes.

========== ======================================================================
image      pictures: their pixels, in one shape
tabular    tables: numbers, booleans, dates and categories
text       texts: words and word pieces, beside the columns of a table
========== ======================================================================
"""

from potstill.modalities.image import ImageEncoder
from potstill.modalities.tabular import TabularEncoder
from potstill.modalities.text import TextEncoder

__all__ = ["ImageEncoder", "TabularEncoder", "TextEncoder"]
