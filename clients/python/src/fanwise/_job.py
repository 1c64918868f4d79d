"""A job over the caller's rows, in plain and in async code. Both have the same methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import _flows as flows
from . import _models as models
from ._flows import Estimate, Progress
from ._join import Row, columns, coverage
from ._tables import to_pandas, to_polars
from ._work import Work

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from ._client import AsyncFanwise, Fanwise

T = TypeVar("T")


def _limits(max_usd: float | None, limits: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**(limits or {}), **({"max_cost_usd": max_usd} if max_usd is not None else {})}


class _Common(Generic[T]):
    _work: Work

    @property
    def id(self) -> str | None:
        """The job's id; none before it is submitted."""
        return self._work.job

    @property
    def view(self) -> models.JobView | None:
        """The job as it was last seen."""
        return self._work.view

    @property
    def state(self) -> str:
        return self._work.view.state if self._work.view else "not submitted"

    @property
    def body(self) -> dict[str, Any]:
        """What is submitted."""
        return self._work.asked()

    def __repr__(self) -> str:
        seen = flows.line(self._work.view) if self._work.view else f"{len(self._work.items):,} rows, not submitted"
        return f"<{type(self).__name__} {self._work.job or ''}: {seen}>"

    def _pandas(self, rows: list[Row[T]], flags: bool) -> pd.DataFrame:
        frame: pd.DataFrame = to_pandas(self._work.table, columns(self._work.table, rows, self._work.into, flags))
        return frame

    def _polars(self, rows: list[Row[T]], flags: bool) -> pl.DataFrame:
        frame: pl.DataFrame = to_polars(self._work.table, columns(self._work.table, rows, self._work.into, flags))
        return frame


class Job(_Common[T]):
    """Made by `Fanwise.map`. Nothing is sent before `estimate`, `try_rows`, `start` or `wait`."""

    def __init__(self, client: Fanwise, work: Work) -> None:
        self._client = client
        self._work = work

    def estimate(self) -> Estimate:
        """What the job would cost. Starts nothing and costs nothing."""
        return self._client._run(flows.estimate(self._work))

    def try_rows(self, n: int = 5, *, progress: bool | Progress = False, timeout: float | None = None) -> Job[T]:
        """Asks about `n` rows, spread over the table, and waits. The whole job does not pay for them again."""
        return Job(self._client, self._client._run(flows.try_rows(self._work, n, progress, timeout)))

    def start(self) -> Job[T]:
        """Submits the job and does not wait. It goes on when this program ends."""
        self._client._run(flows.start(self._work))
        return self

    def wait(self, *, progress: bool | Progress = False, timeout: float | None = None) -> Job[T]:
        """Submits the job where it has not been, and waits for its end.

        A job that is `partial` has rows without an answer: `_status` and `_reason` name each. One that is `failed`
        raises `JobFailed`, one that stands still `JobHalted`.
        """
        self._client._run(flows.wait(self._work, progress, timeout))
        return self

    def refresh(self) -> models.JobView:
        return self._client._run(flows.refresh(self._work))

    def rows(self) -> list[Row[T]]:
        """Each row's answer and fate, in the table's order; while the job runs, what is there so far."""
        return self._client._run(flows.rows(self._work))

    def to_pandas(self, *, flags: bool = False) -> pd.DataFrame:
        """The table's own columns, the answers', `_status` and `_reason`."""
        return self._pandas(self.rows(), flags)

    def to_polars(self, *, flags: bool = False) -> pl.DataFrame:
        """The table's own columns, the answers', `_status` and `_reason`."""
        return self._polars(self.rows(), flags)

    def report(self) -> models.Report | None:
        """The written report, the frequencies and the coverage; none while the job is not over."""
        return self._client._run(coverage(flows.job_of(self._work)))

    def pause(self) -> models.JobView:
        return self._client._run(flows.command(self._work, "pause"))

    def resume(self) -> models.JobView:
        return self._client._run(flows.command(self._work, "resume"))

    def cancel(self) -> models.JobView:
        """No new call begins. Answers that exist can be read."""
        return self._client._run(flows.command(self._work, "cancel"))

    def approve(self) -> models.JobView:
        return self._client._run(flows.command(self._work, "approve"))

    def retry(self, *, max_usd: float | None = None, limits: Mapping[str, Any] | None = None) -> models.JobView:
        """Asks again for the rows that have no answer. Call `wait()` afterwards."""
        return self._client._run(flows.command(self._work, "retry", {"limits": _limits(max_usd, limits)}))

    def change(self, *, max_usd: float | None = None, limits: Mapping[str, Any] | None = None) -> models.JobView:
        """Changes limits of a job that is not over."""
        return self._client._run(flows.change(self._work, {"limits": _limits(max_usd, limits)}))


class AsyncJob(_Common[T]):
    """Made by `AsyncFanwise.map`. Nothing is sent before `estimate`, `try_rows`, `start` or `wait`."""

    def __init__(self, client: AsyncFanwise, work: Work) -> None:
        self._client = client
        self._work = work

    async def estimate(self) -> Estimate:
        """What the job would cost. Starts nothing and costs nothing."""
        return await self._client._run(flows.estimate(self._work))

    async def try_rows(
        self, n: int = 5, *, progress: bool | Progress = False, timeout: float | None = None
    ) -> AsyncJob[T]:
        """Asks about `n` rows, spread over the table, and waits. The whole job does not pay for them again."""
        return AsyncJob(self._client, await self._client._run(flows.try_rows(self._work, n, progress, timeout)))

    async def start(self) -> AsyncJob[T]:
        """Submits the job and does not wait. It goes on when this program ends."""
        await self._client._run(flows.start(self._work))
        return self

    async def wait(self, *, progress: bool | Progress = False, timeout: float | None = None) -> AsyncJob[T]:
        """Submits the job where it has not been, and waits for its end.

        A job that is `partial` has rows without an answer: `_status` and `_reason` name each. One that is `failed`
        raises `JobFailed`, one that stands still `JobHalted`.
        """
        await self._client._run(flows.wait(self._work, progress, timeout))
        return self

    async def refresh(self) -> models.JobView:
        return await self._client._run(flows.refresh(self._work))

    async def rows(self) -> list[Row[T]]:
        """Each row's answer and fate, in the table's order; while the job runs, what is there so far."""
        return await self._client._run(flows.rows(self._work))

    async def to_pandas(self, *, flags: bool = False) -> pd.DataFrame:
        """The table's own columns, the answers', `_status` and `_reason`."""
        return self._pandas(await self.rows(), flags)

    async def to_polars(self, *, flags: bool = False) -> pl.DataFrame:
        """The table's own columns, the answers', `_status` and `_reason`."""
        return self._polars(await self.rows(), flags)

    async def report(self) -> models.Report | None:
        """The written report, the frequencies and the coverage; none while the job is not over."""
        return await self._client._run(coverage(flows.job_of(self._work)))

    async def pause(self) -> models.JobView:
        return await self._client._run(flows.command(self._work, "pause"))

    async def resume(self) -> models.JobView:
        return await self._client._run(flows.command(self._work, "resume"))

    async def cancel(self) -> models.JobView:
        """No new call begins. Answers that exist can be read."""
        return await self._client._run(flows.command(self._work, "cancel"))

    async def approve(self) -> models.JobView:
        return await self._client._run(flows.command(self._work, "approve"))

    async def retry(self, *, max_usd: float | None = None, limits: Mapping[str, Any] | None = None) -> models.JobView:
        """Asks again for the rows that have no answer. Call `wait()` afterwards."""
        return await self._client._run(flows.command(self._work, "retry", {"limits": _limits(max_usd, limits)}))

    async def change(self, *, max_usd: float | None = None, limits: Mapping[str, Any] | None = None) -> models.JobView:
        """Changes limits of a job that is not over."""
        return await self._client._run(flows.change(self._work, {"limits": _limits(max_usd, limits)}))
