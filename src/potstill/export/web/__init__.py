"""A folder with a page that runs an artifact in the browser, and onnxruntime-web beside it."""

from potstill.export.web.page import RUNTIME_FILES, RUNTIME_VERSION, find_runtime, page, write_page

__all__ = ["RUNTIME_FILES", "RUNTIME_VERSION", "find_runtime", "page", "write_page"]
