"""A server process: uvicorn around the application, its signals, and workers side by side."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from potstill.server.app import make_app
from potstill.server.connection import Config, Connection
from potstill.server.errors import RequestError
from potstill.server.models import Models
from potstill.server.settings import GRACE_S, Settings

SETTINGS_KEY = "POTSTILL_SERVE"
"""The environment variable by which workers learn their settings."""


class Listening(msgspec.Struct, frozen=True):
    """Where a server listens.

    Parameters
    ----------
    host, port
        The address; port 0 takes a free one.
    workers
        Processes side by side.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1


def serve(settings: Settings, listening: Listening, *, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until told to stop; then finish what is in flight.

    Parameters
    ----------
    settings, listening
        What, and where.
    ready
        Called once the models are open and the port is taken.

    Raises
    ------
    UserError
        There is nothing to serve, or an artifact cannot be opened.
    """
    if listening.workers == 1:
        app = make_app(settings)
        gc.freeze()  # what is there now stays: nobody need look through it while requests wait
        _Single(config_of(app, settings, listening), app, ready).run()
        return
    Models(Path(settings.source), watched=False)  # says what is wrong before there are processes
    with tempfile.TemporaryDirectory(prefix="potstill-") as folder:
        told = msgspec.structs.replace(settings, workers_folder=folder)
        os.environ[SETTINGS_KEY] = msgspec.json.encode(told).decode()
        config = config_of("potstill.server.run:worker_app", settings, listening)
        sockets = [config.bind_socket()]
        ready()
        # A worker that dies is replaced; SIGHUP replaces them all in turn, with the models as they are then.
        Multiprocess(config, sockets=sockets).run()


def worker_app() -> Starlette:
    """The application of one of several workers, which end with the process that began them."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    app = make_app(msgspec.json.decode(os.environ[SETTINGS_KEY], type=Settings))
    gc.freeze()
    return app


def _end_with_parent() -> None:
    """A worker whose parent was killed would hold the port for good."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Single(uvicorn.Server):
    """One process. ``SIGHUP`` reloads the models."""

    def __init__(self, config: uvicorn.Config, app: Starlette, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready

    async def startup(self, sockets: list[Any] | None = None) -> None:
        with contextlib.suppress(NotImplementedError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
        await super().startup(sockets=sockets)
        self._ready()

    def _reload(self) -> None:
        def work() -> None:
            with contextlib.suppress(RequestError):
                self._app.state.server.reload()

        asyncio.get_running_loop().run_in_executor(None, work)


def config_of(app: Any, settings: Settings, listening: Listening) -> Config:
    """How uvicorn runs the application, or what a worker finds it by."""
    config = Config(
        app,
        factory=isinstance(app, str),
        host=listening.host,
        port=listening.port,
        workers=listening.workers,
        http=Connection,
        loop="auto",
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        date_header=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=settings.certificate or None,
        ssl_keyfile=settings.key or None,
    )
    config.header_timeout_s = settings.header_timeout_s
    return config
