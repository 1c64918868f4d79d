"""Schedules: a job that the service submits by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _models as models
from ._http import Flow, get, write
from ._job import AsyncJob, Job

if TYPE_CHECKING:
    from ._client import AsyncFanwise, Fanwise


def _made(cron: str, job: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(job.body) if isinstance(job, (Job, AsyncJob)) else dict(job)
    # At each run the rows come from there, so those of today are not kept.
    if given.get("input_url") is not None:
        body.pop("input", None)
        body.pop("extends", None)
    return {"cron": cron, "job": body, **{name: value for name, value in given.items() if value is not None}}


def _one(answer: Flow[Any]) -> Flow[models.Schedule]:
    return models.Schedule.model_validate((yield from answer))


def _run(answer: Flow[Any]) -> Flow[models.ScheduleRun]:
    return models.ScheduleRun.model_validate((yield from answer))


def _all() -> Flow[list[models.Schedule]]:
    found: list[models.Schedule] = []
    cursor: str | None = None
    while True:
        page = yield from get("/v1/schedules", limit="200", cursor=cursor)
        found += [models.Schedule.model_validate(entry) for entry in page["data"]]
        cursor = page.get("next_cursor")
        if cursor is None:
            return found


class Schedules:
    """`Fanwise.schedules`."""

    def __init__(self, client: Fanwise) -> None:
        self._client = client

    def create(
        self,
        cron: str,
        job: Job[Any] | Mapping[str, Any],
        *,
        name: str | None = None,
        time_zone: str | None = None,
        input_url: str | None = None,
        input_format: str | None = None,
        overlap: str | None = None,
        paused: bool | None = None,
    ) -> models.Schedule:
        """Submits `job` whenever `cron` is due: over the same rows, or over what `input_url` holds at that time."""
        given = dict(
            name=name,
            time_zone=time_zone,
            input_url=input_url,
            input_format=input_format,
            overlap=overlap,
            paused=paused,
        )
        return self._client._run(_one(write("POST", "/v1/schedules", _made(cron, job, given), safe=False)))

    def list(self) -> list[models.Schedule]:
        return self._client._run(_all())

    def get(self, id: str) -> models.Schedule:
        return self._client._run(_one(get(f"/v1/schedules/{id}")))

    def update(self, id: str, **changes: Any) -> models.Schedule:
        """Changes fields, for example `paused=True`."""
        return self._client._run(_one(write("PATCH", f"/v1/schedules/{id}", changes)))

    def run(self, id: str) -> models.ScheduleRun:
        """Runs it now, whatever is at work."""
        return self._client._run(_run(write("POST", f"/v1/schedules/{id}/run", safe=False)))

    def delete(self, id: str) -> None:
        """Its jobs stay."""
        self._client._run(write("DELETE", f"/v1/schedules/{id}"))


class AsyncSchedules:
    """`AsyncFanwise.schedules`."""

    def __init__(self, client: AsyncFanwise) -> None:
        self._client = client

    async def create(
        self,
        cron: str,
        job: AsyncJob[Any] | Mapping[str, Any],
        *,
        name: str | None = None,
        time_zone: str | None = None,
        input_url: str | None = None,
        input_format: str | None = None,
        overlap: str | None = None,
        paused: bool | None = None,
    ) -> models.Schedule:
        """Submits `job` whenever `cron` is due: over the same rows, or over what `input_url` holds at that time."""
        given = dict(
            name=name,
            time_zone=time_zone,
            input_url=input_url,
            input_format=input_format,
            overlap=overlap,
            paused=paused,
        )
        return await self._client._run(_one(write("POST", "/v1/schedules", _made(cron, job, given), safe=False)))

    async def list(self) -> list[models.Schedule]:
        return await self._client._run(_all())

    async def get(self, id: str) -> models.Schedule:
        return await self._client._run(_one(get(f"/v1/schedules/{id}")))

    async def update(self, id: str, **changes: Any) -> models.Schedule:
        """Changes fields, for example `paused=True`."""
        return await self._client._run(_one(write("PATCH", f"/v1/schedules/{id}", changes)))

    async def run(self, id: str) -> models.ScheduleRun:
        """Runs it now, whatever is at work."""
        return await self._client._run(_run(write("POST", f"/v1/schedules/{id}/run", safe=False)))

    async def delete(self, id: str) -> None:
        """Its jobs stay."""
        await self._client._run(write("DELETE", f"/v1/schedules/{id}"))
