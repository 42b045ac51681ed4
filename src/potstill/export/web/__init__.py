"""A page that runs an artifact in the browser, with onnxruntime-web beside it."""

from potstill.export.web.page import RUNTIME_FILES, page

__all__ = ["RUNTIME_FILES", "page"]
