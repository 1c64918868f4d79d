"""What can go wrong, as exceptions. All of them are a `FanwiseError`."""

from __future__ import annotations

from collections.abc import Sequence

from . import _models as models


class FanwiseError(Exception):
    """The base of all exceptions of this package."""


class InvalidInput(FanwiseError, ValueError):
    """The rows or the arguments cannot become a job. Nothing was sent."""


class Unreachable(FanwiseError):
    """The service did not answer, also when asked again."""


class WaitTimeout(FanwiseError, TimeoutError):
    """The job was not over in time. It goes on; `wait` can be called again."""


class ApiError(FanwiseError):
    """The service refused a request. `code` is stable."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str | None = None,
        faults: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.status = status
        self.code = code
        self.detail = detail
        self.request_id = request_id
        self.faults = list(faults)
        super().__init__(self._text())

    def _text(self) -> str:
        lines = [
            f"{self.detail} ({self.status} {self.code}{f', request {self.request_id}' if self.request_id else ''})"
        ]
        lines += [f"  {path} {message}" for path, message in self.faults[:10]]
        if len(self.faults) > 10:
            lines.append(f"  and {len(self.faults) - 10} more")
        return "\n".join(lines)


class JobHalted(FanwiseError):
    """The job stands still and does not go on by itself."""

    def __init__(self, job: models.JobView) -> None:
        self.job = job
        detail = job.halt.detail if job.halt else ""
        action = {
            "awaiting_approval": "Call `approve()`, or `cancel()`.",
        }.get(job.state, "Raise the limit with `change(max_cost_usd=…)` if it is the budget, then call `resume()`.")
        super().__init__(f"Job {job.id} is {job.state}: {detail} {action}")


class JobFailed(FanwiseError):
    """The job failed. Results that exist can be read all the same."""

    def __init__(self, job: models.JobView) -> None:
        self.job = job
        reason = f"{job.error.message} ({job.error.code})" if job.error else "no reason was given"
        items = job.progress.items
        super().__init__(f"Job {job.id} failed: {reason} {items.covered} of {items.total} rows have a result.")
