"""The two clients: `Fanwise` for plain code, `AsyncFanwise` for async code."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypedDict, TypeVar, overload

import httpx
from typing_extensions import Unpack

from . import _models as models
from ._errors import FanwiseError, InvalidInput, Unreachable
from ._flows import view_of
from ._http import Call, Effect, Flow, Reply, Wait, get, write
from ._into import Into
from ._job import AsyncJob, Job
from ._schedules import AsyncSchedules, Schedules
from ._work import Work, body_of, prepare

T = TypeVar("T")
VERSION = "0.1.0"


def _settings(url: str | None, token: str | None) -> tuple[str, dict[str, str]]:
    url = url or os.environ.get("FANWISE_URL")
    token = token or os.environ.get("FANWISE_TOKEN")
    if not url:
        raise FanwiseError("Give the Worker's address as `url`, or set FANWISE_URL.")
    headers = {"user-agent": f"fanwise-python/{VERSION}"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return url.rstrip("/"), headers


def _request(url: str, call: Call) -> dict[str, Any]:
    return {
        "method": call.method,
        "url": url + call.path,
        "params": dict(call.params),
        "content": call.body,
        "headers": dict(call.headers),
    }


def _reply(response: httpx.Response) -> Reply:
    return Reply(response.status_code, response.headers, response.content)


def _unreachable(url: str, error: Exception) -> Unreachable:
    return Unreachable(f"{url} does not answer: {error or type(error).__name__}")


class MapOptions(TypedDict, total=False):
    """The options of `map`, besides `ask` and `into`."""

    id: str | None
    text: str | None
    fields: Sequence[str] | None
    report: str | None
    max_usd: float | None
    model: str | None
    context: str | None
    count_by: Sequence[str]
    rows_per_call: int | None
    key: str | None
    options: Mapping[str, Any] | None


def _mapped(rows: Any, ask: str, into: Any, options: MapOptions) -> Work:
    unknown = set(options) - set(MapOptions.__annotations__)
    if unknown:
        raise TypeError(f"map() has no option {', '.join(sorted(unknown))}")
    if not ask.strip():
        raise InvalidInput("`ask` is empty: say what is to be found out about each row.")
    rest = dict(options)
    columns = {name: rest.pop(name, None) for name in ("id", "text", "fields")}
    key = rest.pop("key", None)
    body = body_of(ask=ask, into=Into(into), **rest)  # type: ignore[arg-type]
    return prepare(rows, **columns, into=into, body=body, key=key)  # type: ignore[arg-type]


def _attached(
    job: str, rows: Any, *, into: Any, id: str | None, text: str | None, fields: Sequence[str] | None
) -> Work:
    work = prepare(rows, id=id, text=text, fields=fields, into=into, body={"stages": []}, key=None)
    work.job = job
    return work


class Fanwise:
    """A deployed Fanwise. `url` and `token` come from FANWISE_URL and FANWISE_TOKEN where they are left out."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url, headers = _settings(url, token)
        self._http = httpx.Client(headers=headers, timeout=timeout, transport=transport)
        self.schedules = Schedules(self)

    def __enter__(self) -> Fanwise:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def _run(self, flow: Flow[T]) -> T:
        try:
            effect: Effect = next(flow)
            while True:
                if isinstance(effect, Wait):
                    time.sleep(effect.seconds)
                    effect = flow.send(None)
                    continue
                try:
                    reply = _reply(self._http.request(**_request(self._url, effect)))
                except httpx.TransportError as error:
                    effect = flow.throw(_unreachable(self._url, error))
                else:
                    effect = flow.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    @overload
    def map(self, rows: Any, *, ask: str, into: type[T], **options: Unpack[MapOptions]) -> Job[T]: ...
    @overload
    def map(self, rows: Any, *, ask: str, into: Any = None, **options: Unpack[MapOptions]) -> Job[Any]: ...
    def map(self, rows: Any, *, ask: str, into: Any = None, **options: Unpack[MapOptions]) -> Job[Any]:
        """Prepares one question about every row. Nothing is sent yet.

        - `rows`: a pandas or polars DataFrame or Series, or a list of texts, dicts or models.
        - `ask`: what is to be found out about each row.
        - `into`: the form of an answer, a pydantic model, another type, or a JSON Schema. Without it, a text.
        - `id`: the column whose cells name the rows. Without it, and where a cell is blank, they are numbered.
        - `text`, `fields`: the columns that are sent. Without both, all of them.
        - `report`: what a report over all answers should say; `count_by`: fields to count.
        - `max_usd`: the cap, trials included. It is never passed.
        - `model`, `context`, `rows_per_call`: the stage's model, reference material, and chunk size.
        - `key`: names this submit, so that the same code run again finds the same job.
        - `options`: any other field of `POST /v1/jobs`, for example `{"limits": {"concurrency": 10}}`.
        """
        return Job(self, _mapped(rows, ask, into, options))

    def attach(
        self,
        job: str,
        rows: Any,
        *,
        into: Any = None,
        id: str | None = None,
        text: str | None = None,
        fields: Sequence[str] | None = None,
    ) -> Job[Any]:
        """A job that was submitted before, beside the rows it was submitted with. Give the same arguments as to `map`."""
        return Job(self, _attached(job, rows, into=into, id=id, text=text, fields=fields))

    def job(self, id: str) -> models.JobView:
        """A job as the service shows it."""
        return self._run(_viewed(get(f"/v1/jobs/{id}")))

    def jobs(self, *, state: str | None = None) -> Iterator[models.JobView]:
        """All jobs, newest first."""
        cursor: str | None = None
        while True:
            page = self._run(get("/v1/jobs", state=state, limit="200", cursor=cursor))
            yield from map(view_of, page["data"])
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def delete(self, id: str) -> None:
        """Deletes a job that is over, with all its rows and answers."""
        self._run(write("DELETE", f"/v1/jobs/{id}"))

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other call of the HTTP API, for example `request("GET", "/v1/limits")`."""
        return self._run(_any(method, path, body))


class AsyncFanwise:
    """The same as `Fanwise`, for async code."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        timeout: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url, headers = _settings(url, token)
        self._http = httpx.AsyncClient(headers=headers, timeout=timeout, transport=transport)
        self.schedules = AsyncSchedules(self)

    async def __aenter__(self) -> AsyncFanwise:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def _run(self, flow: Flow[T]) -> T:
        # httpx stands on it, so that trio works as asyncio does.
        import anyio

        try:
            effect: Effect = next(flow)
            while True:
                if isinstance(effect, Wait):
                    await anyio.sleep(effect.seconds)
                    effect = flow.send(None)
                    continue
                try:
                    reply = _reply(await self._http.request(**_request(self._url, effect)))
                except httpx.TransportError as error:
                    effect = flow.throw(_unreachable(self._url, error))
                else:
                    effect = flow.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result

    @overload
    def map(self, rows: Any, *, ask: str, into: type[T], **options: Unpack[MapOptions]) -> AsyncJob[T]: ...
    @overload
    def map(self, rows: Any, *, ask: str, into: Any = None, **options: Unpack[MapOptions]) -> AsyncJob[Any]: ...
    def map(self, rows: Any, *, ask: str, into: Any = None, **options: Unpack[MapOptions]) -> AsyncJob[Any]:
        """Prepares one question about every row. Nothing is sent yet.

        - `rows`: a pandas or polars DataFrame or Series, or a list of texts, dicts or models.
        - `ask`: what is to be found out about each row.
        - `into`: the form of an answer, a pydantic model, another type, or a JSON Schema. Without it, a text.
        - `id`: the column whose cells name the rows. Without it, and where a cell is blank, they are numbered.
        - `text`, `fields`: the columns that are sent. Without both, all of them.
        - `report`: what a report over all answers should say; `count_by`: fields to count.
        - `max_usd`: the cap, trials included. It is never passed.
        - `model`, `context`, `rows_per_call`: the stage's model, reference material, and chunk size.
        - `key`: names this submit, so that the same code run again finds the same job.
        - `options`: any other field of `POST /v1/jobs`, for example `{"limits": {"concurrency": 10}}`.
        """
        return AsyncJob(self, _mapped(rows, ask, into, options))

    def attach(
        self,
        job: str,
        rows: Any,
        *,
        into: Any = None,
        id: str | None = None,
        text: str | None = None,
        fields: Sequence[str] | None = None,
    ) -> AsyncJob[Any]:
        """A job that was submitted before, beside the rows it was submitted with. Give the same arguments as to `map`."""
        return AsyncJob(self, _attached(job, rows, into=into, id=id, text=text, fields=fields))

    async def job(self, id: str) -> models.JobView:
        """A job as the service shows it."""
        return await self._run(_viewed(get(f"/v1/jobs/{id}")))

    async def jobs(self, *, state: str | None = None) -> AsyncIterator[models.JobView]:
        """All jobs, newest first."""
        cursor: str | None = None
        while True:
            page = await self._run(get("/v1/jobs", state=state, limit="200", cursor=cursor))
            for entry in page["data"]:
                yield view_of(entry)
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    async def delete(self, id: str) -> None:
        """Deletes a job that is over, with all its rows and answers."""
        await self._run(write("DELETE", f"/v1/jobs/{id}"))

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """Any other call of the HTTP API, for example `request("GET", "/v1/limits")`."""
        return await self._run(_any(method, path, body))


def _viewed(answer: Flow[Any]) -> Flow[models.JobView]:
    return view_of((yield from answer))


def _any(method: str, path: str, body: Any) -> Flow[Any]:
    # Only what is the same done twice is asked for twice.
    answer = yield from write(method, path, body, safe=method.upper() in ("GET", "HEAD", "PUT", "PATCH", "DELETE"))
    return answer
