"""The page at ``/``."""

from __future__ import annotations

from importlib.resources import files

PAGE = files("potstill.server").joinpath("page.html").read_bytes()
"""One HTML file without anything from elsewhere."""
