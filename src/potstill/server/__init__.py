"""Artifacts over HTTP and gRPC: needs the [serve] extra.

The Open Inference Protocol v2 and a plain one (`oip`, `plain`), over the models of a file, a folder or a
repository (`Models`), within limits (`Guard`).
"""

from potstill.server.settings import Settings

__all__ = ["Settings"]
