"""The server as an ASGI application: which path answers what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from potstill.artifact import Model
from potstill.artifact.columns import Feeds, rows_of
from potstill.errors import PotstillError, StoreError, UserError
from potstill.monitoring import Cascade, CascadeCounts, HttpEnsemble, Shadow
from potstill.monitoring.ensemble import Row, told_rows
from potstill.monitoring.metrics import CONTENT_TYPE, UNNAMED, ServingMetrics, merged_texts
from potstill.monitoring.watch import WatchReport, merged_reports
from potstill.server import oip
from potstill.server.errors import RequestError, bad_request, not_found, refused
from potstill.server.guard import Guard
from potstill.server.models import Models, Served
from potstill.server.openapi import document
from potstill.server.page import PAGE
from potstill.server.plain import feeds_of_rows, read_reference, read_rows, write_rows
from potstill.server.settings import GRACE_S, Settings
from potstill.server.siblings import Siblings
from potstill.server.tensors import Tensor, answer_tensors, row_of_tensors, rows_of_tensors
from potstill.server.traffic import Reply, Traffic
from potstill.types import Bools, Floats
from potstill.versions import Repository, Version

log = logging.getLogger("potstill.server")

Params: TypeAlias = dict[str, str]
Headers: TypeAlias = Mapping[bytes, bytes]
Answered: TypeAlias = tuple[Floats, Bools | None]
"""``(n, K)`` answers, and where there is a cascade ``(n,)`` whether the ensemble gave them."""

_HEADER_LENGTH = oip.HEADER_LENGTH.lower().encode()
_JSON = {"content-type": "application/json"}

THREADED_ROWS = 64
"""From so many rows on a request is answered in a thread: others need not wait for it."""

ENSEMBLE_TOKEN = "POTSTILL_ENSEMBLE_TOKEN"
"""The environment variable with the bearer token of the ensemble that shadows or answers, if it needs one."""

ENSEMBLE_THREADS = 32
"""Requests that wait at once for the ensemble of a cascade."""


class _Name(Convertor[str]):
    """The name of a model in a path: no colon, behind which a verb may follow."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def make_app(settings: Settings, models: Models | None = None) -> Starlette:
    """The application.

    Parameters
    ----------
    settings
        Source of the models, and the limits.
    models
        The models, where they are opened already.

    Raises
    ------
    UserError
        There is nothing to serve, or an artifact cannot be opened.
    """
    if models is None:
        models = Models(
            Path(settings.source),
            watched=settings.watch,
            shadowed=_shadowing(settings) if settings.shadow_url else None,
            cascaded=_cascading(settings) if settings.cascade_url else None,
        )
    server = Server(settings, models)
    app = Starlette(routes=server.routes(), lifespan=server.lifespan)
    app.add_exception_handler(404, _unknown_page)
    app.add_exception_handler(405, _wrong_method)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(Guard, settings=settings, metrics=server.metrics)
    app.state.server = server
    return app


def _shadowing(settings: Settings) -> Callable[[str, Model], Shadow]:
    """What makes the shadow of a model: the ensemble behind the address that is named for it."""

    def shadowed(name: str, model: Model) -> Shadow:
        return Shadow(model, _ensemble(settings.shadow_url, name, model), share=settings.shadow_share)

    return shadowed


def _cascading(settings: Settings) -> Callable[[str, Model], Cascade]:
    """What makes the cascade of a model, likewise."""

    def cascaded(name: str, model: Model) -> Cascade:
        ask = _ensemble(settings.cascade_url, name, model, timeout_s=settings.cascade_timeout_s)
        return Cascade(model, ask, threshold=settings.cascade_threshold)

    return cascaded


def _ensemble(url: str, name: str, model: Model, *, timeout_s: float = 10.0) -> HttpEnsemble:
    token = ENSEMBLE_TOKEN if ENSEMBLE_TOKEN in os.environ else ""
    named = url.replace("{model}", quote(name, safe=""))
    return HttpEnsemble(named, model.task, timeout_s=timeout_s, token_env=token)


class Server:
    """What the endpoints share."""

    def __init__(self, settings: Settings, models: Models) -> None:
        self.settings = settings
        self.models = models
        self.metrics = ServingMetrics()
        self.siblings = Siblings(
            settings.workers_folder,
            {
                "metrics": lambda _: self.metrics.text(),
                "reload": lambda _: msgspec.json.encode(self.reload()),
                "watch": lambda name: msgspec.json.encode(_report_of(self.models.named(name))),
            },
        )
        self._asking = ThreadPoolExecutor(ENSEMBLE_THREADS, "potstill-cascade")
        self._announce()

    def routes(self) -> list[Route]:
        """All paths."""
        model, version = "/v2/models/{model:name}", "/v2/models/{model:name}/versions/{version}"
        infer = Traffic(self.infer)
        return [
            # these two first: each path is held against the routes in turn
            Route("/v1/models/{model:name}:predict", Traffic(self.predict), methods=["POST"]),
            *(Route(f"{path}/infer", infer, methods=["POST"]) for path in (model, version)),
            Route("/", self.page),
            Route("/openapi.json", self.openapi),
            Route("/metrics", self.prometheus),
            Route("/v2", self.about),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{model:name}/load", self.load, methods=["POST"]),
            *(Route(path, self.metadata) for path in (model, version)),
            *(Route(f"{path}/ready", self.model_ready) for path in (model, version)),
            Route("/v1/models", self.names),
            Route("/v1/models/{model:name}", self.card),
            Route("/v1/models/{model:name}/watch", self.watched),
            Route("/v1/models/{model:name}/versions", self.versions),
            Route("/v1/models/{model:name}:promote", self.promote, methods=["POST"]),
            Route("/v1/models/{model:name}:rollback", self.rollback, methods=["POST"]),
        ]

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:  # noqa: ARG002
        """While the server runs: gRPC beside HTTP, and looks at a repository for switched aliases."""
        looking = None
        if self.settings.poll_s > 0 and self.models.repository is not None:
            looking = asyncio.create_task(self._look())
        calls = None
        if self.settings.grpc_address:
            from potstill.server import grpc_service

            calls = await grpc_service.start(self, self.settings)
        await self.siblings.open()
        yield
        await self.siblings.close()
        if looking is not None:
            looking.cancel()
        if calls is not None:
            await calls.stop(GRACE_S)

    def reload(self) -> list[str]:
        """Look at the source again; what cannot be opened leaves everything as it was, and is logged."""
        try:
            changed = self.models.reload()
        except (PotstillError, OSError) as error:
            log.error("The models stay as they are: %s", error)
            raise RequestError(500, "The models cannot be reloaded; the ones before still answer.") from None
        self._announce()
        for name in changed:
            log.info("model %s is another now", name)
            if name not in {served.name for served in self.models}:
                self.metrics.forget(name)
        return changed

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self.settings.poll_s)
            with contextlib.suppress(RequestError):
                await asyncio.to_thread(self.reload)

    def _announce(self) -> None:
        for served in self.models:
            if served.watch is not None:
                self.metrics.watch(served.name, served.watch.report)
            if served.cascade is not None:
                self.metrics.cascade(served.name, partial(_counts_of, served.cascade))

    async def page(self, request: Request) -> Response:  # noqa: ARG002
        return Response(PAGE, media_type="text/html")

    async def openapi(self, request: Request) -> Response:  # noqa: ARG002
        return _json(document(self.models, max_rows=self.settings.max_rows))

    async def prometheus(self, request: Request) -> Response:  # noqa: ARG002
        """The metrics; of several workers all, each labelled with its worker."""
        text = await asyncio.to_thread(self.metrics.text)
        if not self.siblings.alone:
            others = await self.siblings.ask("metrics")
            text = await asyncio.to_thread(merged_texts, {self.siblings.name: text, **others})
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    async def about(self, request: Request) -> Response:  # noqa: ARG002
        return _json(oip.server_metadata())

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        return _json({"ready": True})

    async def index(self, request: Request) -> Response:  # noqa: ARG002
        return _json([{"name": each.name, "version": each.version, "state": "READY"} for each in self.models])

    async def load(self, request: Request) -> Response:
        try:
            changed = await asyncio.to_thread(self.reload)
            self.models.named(request.path_params["model"])
        except RequestError as error:
            return _error(error)
        await self.siblings.ask("reload")
        return _json({"changed": changed})

    async def metadata(self, request: Request) -> Response:
        return self._of_model(request, oip.model_metadata)

    async def model_ready(self, request: Request) -> Response:
        return self._of_model(request, lambda served: {"name": served.name, "ready": True})

    async def names(self, request: Request) -> Response:  # noqa: ARG002
        return _json({"models": [{"name": each.name, "version": each.version} for each in self.models]})

    async def card(self, request: Request) -> Response:
        return self._of_model(request, lambda served: {"version": served.version, "card": served.model.card})

    async def watched(self, request: Request) -> Response:
        """What the watch has seen; of several workers what all of them have."""
        try:
            served = self._named(request)
            own = await asyncio.to_thread(_report_of, served)
        except RequestError as error:
            return _error(error)
        others = await self.siblings.ask("watch", served.name)
        reports = [msgspec.json.decode(each, type=WatchReport) for each in others.values()]
        return _json(merged_reports([own, *reports]))

    async def versions(self, request: Request) -> Response:
        """Versions of a model in a repository, newest first; none of a model that is just a file."""

        def told(served: Served) -> Any:
            repository = self.models.repository
            listed = repository.versions(served.name) if repository is not None else []
            return {"versions": listed[::-1]}

        return await asyncio.to_thread(self._of_model, request, told)

    async def promote(self, request: Request) -> Response:
        """Make the version that the body names the champion; needs a token."""
        return await self._switched(request, lambda repository, name, ref: repository.promote(name, ref))

    async def rollback(self, request: Request) -> Response:
        """Make the champion before this one champion again; needs a token."""
        return await self._switched(request, lambda repository, name, _: repository.rollback(name))

    async def _switched(
        self, request: Request, switch: Callable[[Repository, str, str], Version]
    ) -> Response:
        if not self.settings.token:
            return _error(
                RequestError(403, "Switching versions needs a server that was started with a token.")
            )
        repository = self.models.repository
        if repository is None:
            return _error(not_found("model repository"))
        try:
            name = self._named(request).name
            ref = read_reference(await request.body())
            version = await asyncio.to_thread(switch, repository, name, ref)
            await asyncio.to_thread(self.reload)
            await self.siblings.ask("reload")
        except StoreError as error:
            log.error("No version was switched: %s", error)
            return _error(
                RequestError(507, "The repository cannot be written to; the versions are as they were.")
            )
        except UserError as error:
            return _error(refused(error))
        except RequestError as error:
            return _error(error)
        return _json({"version": version.version})

    async def infer(self, path: Params, headers: Headers, body: bytes) -> Reply:
        """An inference of the Open Inference Protocol."""
        return await self._answered(path, headers, body, "oip", self._infer)

    async def predict(self, path: Params, headers: Headers, body: bytes) -> Reply:
        """An answer to rows as JSON objects."""
        return await self._answered(path, headers, body, "json", self._predict)

    async def _infer(self, served: Served, headers: Headers, body: bytes) -> tuple[Reply, int]:
        length = headers.get(_HEADER_LENGTH)
        asked = oip.read_request(body, None if length is None else length.decode("latin-1"))
        outputs, _ = await self.outputs_of_tensors(served, asked.tensors)
        answer, told = oip.write_answer(served, asked, answer_tensors(served.model, outputs))
        return Reply(200, answer, told), len(outputs)

    async def _predict(self, served: Served, headers: Headers, body: bytes) -> tuple[Reply, int]:  # noqa: ARG002
        rows = read_rows(body)
        self._check_rows(len(rows))
        if len(rows) == 1:
            outputs, asked = await self._output_of_one(served, rows[0])
        else:
            outputs, asked = await self.outputs(served, feeds_of_rows(rows, served.model), rows)
        return Reply(200, write_rows(served, outputs, asked)), len(outputs)

    async def _output_of_one(self, served: Served, row: dict[str, Any]) -> Answered:
        try:
            inputs, outputs = served.model.note_one(row)
        except UserError as error:
            raise refused(error) from None
        if served.watch is not None:
            served.watch.observe(inputs, outputs, [row])
        return await self._settled(served, outputs, lambda: [row])

    async def _settled(
        self, served: Served, outputs: Floats, rows_of: Callable[[], Sequence[Row]]
    ) -> Answered:
        """The answers after the ensemble of a cascade, if there is one, was asked about some."""
        cascade = served.cascade
        if cascade is None:
            return outputs, None
        unsure = cascade.unsure(outputs)
        if not unsure.any():
            return cascade.settle(outputs, unsure, rows_of)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._asking, cascade.settle, outputs, unsure, rows_of)

    async def outputs_of_tensors(self, served: Served, tensors: Sequence[Tensor]) -> Answered:
        """The answers to the rows of some tensors, which are watched.

        Raises
        ------
        RequestError
            The tensors are not the model's columns, or hold more rows than are allowed.
        """
        row = row_of_tensors(tensors, served.model)
        if row is not None:
            return await self._output_of_one(served, row)
        return await self.outputs(served, rows_of_tensors(tensors, served.model))

    async def outputs(self, served: Served, inputs: Feeds, rows: Sequence[Row] | None = None) -> Answered:
        """The answers to some inputs, which are watched; the rows as they came, if there are any.

        Raises
        ------
        RequestError
            There are more rows than are allowed.
        """
        n_rows = rows_of(inputs)
        self._check_rows(n_rows)
        if n_rows < THREADED_ROWS:
            outputs = served.model.outputs(inputs)
        else:
            outputs = await asyncio.to_thread(served.model.outputs, inputs)
        if served.watch is not None and n_rows:
            served.watch.observe(inputs, outputs, rows)
        return await self._settled(
            served, outputs, lambda: told_rows(inputs, served.model) if rows is None else rows
        )

    def _check_rows(self, n_rows: int) -> None:
        if n_rows > self.settings.max_rows:
            raise bad_request(
                f"The request has {n_rows:,} rows; at most {self.settings.max_rows:,} are taken."
            )

    async def _answered(
        self,
        path: Params,
        headers: Headers,
        body: bytes,
        protocol: str,
        work: Callable[[Served, Headers, bytes], Awaitable[tuple[Reply, int]]],
    ) -> Reply:
        """Answer, and count it."""
        name, version, n_rows, status = UNNAMED, UNNAMED, 0, 500
        begin = time.perf_counter()
        try:
            served = self.models.named(path["model"], path.get("version"))
            name, version = served.name, served.version
            reply, n_rows = await work(served, headers, body)
            status = reply.status
        except RequestError as error:
            reply, status = Reply(error.status, _error_body(error), {**_JSON, **error.headers}), error.status
        except asyncio.CancelledError:
            status = 0  # it took too long: whoever refuses it counts it
            raise
        finally:
            if status:
                seconds = time.perf_counter() - begin
                self.metrics.answered(
                    name, version, protocol, status=str(status), n_rows=n_rows, seconds=seconds
                )
        return reply

    def _named(self, request: Request) -> Served:
        return self.models.named(request.path_params["model"], request.path_params.get("version"))

    def _of_model(self, request: Request, told: Callable[[Served], Any]) -> Response:
        try:
            return _json(told(self._named(request)))
        except RequestError as error:
            return _error(error)


def _report_of(served: Served) -> WatchReport:
    if served.watch is None:
        raise not_found("watch: the server was started without")
    return served.watch.report()


def _counts_of(cascade: Cascade) -> CascadeCounts:
    return cascade.counts


def _json(value: Any) -> Response:
    return _bytes(msgspec.json.encode(value))


def _bytes(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _error_body(error: RequestError) -> bytes:
    return msgspec.json.encode({"error": error.message})


def _error(error: RequestError) -> Response:
    return Response(_error_body(error), error.status, headers=error.headers, media_type="application/json")


async def _unknown_page(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _error(not_found("such page"))


async def _wrong_method(request: Request, error: Exception) -> Response:  # noqa: ARG001
    headers = getattr(error, "headers", None) or {}
    return _error(RequestError(405, "This path takes another method.", dict(headers)))


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _error(RequestError(500, "The server failed to answer; its log says why."))
