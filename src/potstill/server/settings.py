"""What a server allows: limits with sane defaults."""

from __future__ import annotations

import msgspec

GRACE_S = 30
"""Seconds that requests in flight have when a server is told to stop."""


class Settings(msgspec.Struct, frozen=True):
    """How a server behaves; the flags of ``potstill serve``.

    Parameters
    ----------
    source
        An artifact, a folder of artifacts, or a model repository.
    max_body_bytes
        Larger requests are refused (413).
    max_rows
        Rows of one request (400 beyond).
    max_pixels
        Height times width of all picture files of one request, as their headers say it (400 beyond).
    max_concurrent
        Requests at work or waiting at once; more are told to come back (429).
    request_timeout_s
        For a request's body to arrive and be answered (408).
    header_timeout_s
        For a request's headers to arrive; then the connection is closed.
    token
        Bearer token that every request but those for health must carry; empty for none.
    poll_s
        Seconds between looks at a model repository for switched aliases; 0 looks only when told to.
    watch
        Whether live traffic is held against what the artifacts know of their training rows.
    shadow_url
        Address of the ensemble that sees a copy of some requests; ``{model}`` in it stands for the model's
        name. Empty for none.
    shadow_share
        Of the requests that are copied.
    cascade_url
        Address of the ensemble that answers where the model is not sure; as ``shadow_url``.
    cascade_threshold
        Probability of the most probable class from which the model answers alone.
    cascade_timeout_s
        For the ensemble to answer; then the model's own answer stands.
    grpc_address
        ``host:port`` for gRPC; empty for none.
    certificate, key
        PEM files for TLS; empty for plain connections.
    shares_port
        Whether several workers listen at the gRPC address.
    workers_folder
        Private folder in which several workers reach each other; empty for one worker.
    """

    source: str
    max_body_bytes: int = 8_000_000
    max_rows: int = 10_000
    max_pixels: int = 40_000_000
    max_concurrent: int = 256
    request_timeout_s: float = 30.0
    header_timeout_s: float = 10.0
    token: str = ""
    poll_s: float = 1.0
    watch: bool = True
    shadow_url: str = ""
    shadow_share: float = 0.1
    cascade_url: str = ""
    cascade_threshold: float = 0.0
    cascade_timeout_s: float = 1.0
    grpc_address: str = ""
    certificate: str = ""
    key: str = ""
    shares_port: bool = False
    workers_folder: str = ""
