"""The server as an ASGI application: which path answers what."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from potstill.artifact import Model
from potstill.errors import PotstillError, StoreError, UserError
from potstill.monitoring import Cascade, CascadeCounts, HttpEnsemble, Shadow
from potstill.monitoring.metrics import CONTENT_TYPE, ServingMetrics, merged_texts
from potstill.monitoring.watch import WatchReport, merged_reports
from potstill.server import oip
from potstill.server.answers import Answers
from potstill.server.errors import RequestError, not_found, refused
from potstill.server.guard import Admission, Guard
from potstill.server.models import Models, Served
from potstill.server.openapi import document
from potstill.server.page import PAGE
from potstill.server.plain import read_reference
from potstill.server.settings import GRACE_S, Settings
from potstill.server.siblings import Siblings
from potstill.server.traffic import SHORTCUT_KEY, Shortcut, Traffic
from potstill.versions import Repository, Version

log = logging.getLogger("potstill.server")

ENSEMBLE_TOKEN = "POTSTILL_ENSEMBLE_TOKEN"
"""The environment variable with the bearer token of the ensemble that shadows or answers, if it needs one."""


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
    app.add_middleware(Guard, settings=settings, admission=server.admission, metrics=server.metrics)
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
        self.admission = Admission(settings)
        self.siblings = Siblings(
            settings.workers_folder,
            {
                "metrics": lambda _: self.metrics.text(),
                "reload": lambda _: msgspec.json.encode(self.reload()),
                "watch": lambda name: msgspec.json.encode(_report_of(self.models.named(name))),
            },
        )
        self.answers = Answers(settings, models, self.metrics)
        self._announce()

    def routes(self) -> list[Route]:
        """All paths."""
        model, version = "/v2/models/{model:name}", "/v2/models/{model:name}/versions/{version}"
        infer = Traffic("oip", self.answers.later)
        return [
            # these two first: each path is held against the routes in turn
            Route("/v1/models/{model:name}:predict", Traffic("json", self.answers.later), methods=["POST"]),
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
    async def lifespan(self, app: Starlette) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG002
        """While the server runs: gRPC beside HTTP, and looks at a repository for switched aliases."""
        looking = None
        if self.settings.poll_s > 0 and self.models.repository is not None:
            looking = asyncio.create_task(self._look())
        calls = None
        if self.settings.grpc_address:
            from potstill.server import grpc_service

            calls = await grpc_service.start(self, self.settings)
        await self.siblings.open()
        yield {SHORTCUT_KEY: Shortcut(self.admission, self.answers.now, self.answers.settle)}
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


def _error(error: RequestError) -> Response:
    return Response(error.body, error.status, headers=error.headers, media_type="application/json")


async def _unknown_page(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _error(not_found("such page"))


async def _wrong_method(request: Request, error: Exception) -> Response:  # noqa: ARG001
    headers = getattr(error, "headers", None) or {}
    return _error(RequestError(405, "This path takes another method.", dict(headers)))


async def _broken(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return _error(RequestError(500, "The server failed to answer; its log says why."))
