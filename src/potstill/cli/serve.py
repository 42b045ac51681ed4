"""``potstill serve``: artifacts over HTTP."""

from __future__ import annotations

import os
from pathlib import Path

import click

from potstill.cli.command import command, examples, json_option, option
from potstill.cli.output import emit_json
from potstill.errors import UserError

LIMITS = "Limits"
ACCESS = "Access"


@command(
    epilog=examples(
        "potstill serve income.onnx",
        "potstill serve models/ --grpc-port 8081 --token-file token.txt",
        "potstill serve models/ --host 0.0.0.0 --workers 4 --token-file /run/secrets/token",
    )
)
@click.argument("source", type=click.Path(path_type=Path))
@option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 for a free one.")
@option("--grpc-port", type=click.IntRange(1, 65535), help="Answer gRPC there too, at the same address.")
@option("--workers", default=1, show_default=True, type=click.IntRange(1), help="Processes; one a core.")
@option("--no-watch", is_flag=True, help="Do not hold live traffic against the training rows.")
@option(
    "--shadow",
    metavar="URL",
    help="Show a copy of some requests to the ensemble at URL, which takes and gives what this server does; "
    "{model} in it stands for the model's name. Requests do not wait for it; the watch tells how far they "
    "agree. Its token, if it needs one, is the variable POTSTILL_ENSEMBLE_TOKEN.",
)
@option(
    "--shadow-share",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Of the requests that are shown.",
)
@option(
    "--cascade",
    metavar="URL",
    help="Where the model is not sure, answer what the ensemble at URL says; see --shadow. If it fails or is "
    "late, the model's answer stands.",
)
@option(
    "--cascade-threshold",
    metavar="P",
    type=click.FloatRange(0, 1),
    help="Probability from which the model is sure; potstill cascade finds it.",
)
@option(
    "--cascade-timeout",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds that the ensemble may take.",
)
@option(
    "--poll",
    default=1.0,
    show_default=True,
    type=float,
    help="Seconds between looks at a repository; 0: none.",
)
@option(
    "--token-file",
    type=click.Path(path_type=Path),
    section=ACCESS,
    help="File with a bearer token that requests must carry; or the variable POTSTILL_TOKEN.",
)
@option("--certificate", type=click.Path(path_type=Path), section=ACCESS, help="PEM file, for TLS.")
@option("--key", type=click.Path(path_type=Path), section=ACCESS, help="PEM file of the certificate's key.")
@option("--max-body", default=8.0, show_default=True, type=float, section=LIMITS, help="MB of a request.")
@option(
    "--max-rows",
    default=10_000,
    show_default=True,
    type=click.IntRange(1),
    section=LIMITS,
    help="Rows of a request.",
)
@option(
    "--max-pixels",
    default=40.0,
    show_default=True,
    type=float,
    section=LIMITS,
    help="Million pixels of all pictures of a request.",
)
@option(
    "--max-concurrent",
    default=256,
    show_default=True,
    type=click.IntRange(1),
    section=LIMITS,
    help="Requests at once; more get 429.",
)
@option(
    "--request-timeout",
    default=30.0,
    show_default=True,
    type=float,
    section=LIMITS,
    help="Seconds for a request to arrive and be answered.",
)
@option(
    "--header-timeout",
    default=10.0,
    show_default=True,
    type=float,
    section=LIMITS,
    help="Seconds for a request's headers to arrive.",
)
@json_option("Say where on stdout, as one JSON object.")
def serve(
    source: Path,
    *,
    host: str,
    port: int,
    grpc_port: int | None,
    workers: int,
    no_watch: bool,
    shadow: str | None,
    shadow_share: float,
    cascade: str | None,
    cascade_threshold: float | None,
    cascade_timeout: float,
    poll: float,
    token_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    max_body: float,
    max_rows: int,
    max_pixels: float,
    max_concurrent: int,
    request_timeout: float,
    header_timeout: float,
    as_json: bool,
) -> None:
    """Answer requests with SOURCE: an artifact, a folder of artifacts, or a model repository.

    Speaks the Open Inference Protocol v2 (POST /v2/models/NAME/infer, also with binary tensors) and a plain
    one: POST /v1/models/NAME:predict with {"instances": [{column: value, ...}, ...]}. The name of an artifact
    is its file's name without the ending. GET / is a page to try it, /metrics is for Prometheus,
    /openapi.json says it all. SIGHUP reads SOURCE again, SIGTERM stops after what is in flight.
    """
    try:
        if grpc_port is not None:
            import grpc  # noqa: F401
        from potstill.server.run import Listening
        from potstill.server.run import serve as run
    except ImportError as error:
        raise UserError(
            f"Serving needs packages that are not there: {error.name}.",
            hint="pip install 'potstill[serve]'",
        ) from None
    from potstill.server import Settings

    if not source.exists():
        raise UserError(f"There is no file or folder {source}.", hint="Make one with potstill distill.")
    if (certificate is None) != (key is None):
        raise UserError("TLS needs both --certificate and --key.")
    if shadow and no_watch:
        raise UserError("A shadow is told of by the watch.", hint="Leave out --no-watch or --shadow.")
    if (cascade is None) != (cascade_threshold is None):
        raise UserError(
            "A cascade needs both --cascade and --cascade-threshold.",
            hint="potstill cascade model.onnx validation.csv --teacher … finds the threshold.",
        )
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise UserError(f"There is no file {path}.")
    settings = Settings(
        source=str(source),
        max_body_bytes=round(max_body * 1e6),
        max_rows=max_rows,
        max_pixels=round(max_pixels * 1e6),
        max_concurrent=max_concurrent,
        request_timeout_s=request_timeout,
        header_timeout_s=header_timeout,
        token=_token(token_file),
        poll_s=poll,
        watch=not no_watch,
        shadow_url=shadow or "",
        shadow_share=shadow_share,
        cascade_url=cascade or "",
        cascade_threshold=cascade_threshold or 0.0,
        cascade_timeout_s=cascade_timeout,
        grpc_address="" if grpc_port is None else f"{host}:{grpc_port}",
        certificate="" if certificate is None else str(certificate),
        key="" if key is None else str(key),
        shares_port=workers > 1,
    )
    scheme = "http" if certificate is None else "https"
    url = f"{scheme}://{host}:{port}"

    def ready() -> None:
        if as_json:
            emit_json({"source": str(source), "url": url, "grpc": settings.grpc_address})
        else:
            click.echo(f"serving {source} at {url}", err=True)

    run(settings, Listening(host=host, port=port, workers=workers), ready=ready)


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get("POTSTILL_TOKEN", "")
    try:
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UserError(f"The token's file {file} cannot be read: {error.strerror}.") from None
    if not token:
        raise UserError(f"The token's file {file} is empty.", hint="Put a long random word into it.")
    return token
