"""What a job can be asked to do, as flows that both clients run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import _models as models
from ._errors import FanwiseError, JobFailed, JobHalted, WaitTimeout
from ._http import Flow, Wait, get, submit, write
from ._join import Row, fetch, join
from ._work import Trial, Work

OVER = ("succeeded", "partial", "failed", "cancelled")
# Polls begin close together, for small jobs, and end far apart.
FIRST_POLL = 0.3
LONGEST_POLL = 5.0

Progress = Callable[[models.JobView], None]


@dataclass(frozen=True)
class Estimate:
    """What a job would cost, in dollars, before anything is paid. `details` has all figures and other ways to do it."""

    rows: int
    calls: tuple[int, int]
    low_usd: float
    likely_usd: float | None
    high_usd: float
    seconds: tuple[int, int]
    details: models.Estimate

    def __str__(self) -> str:
        likely = f"about ${self.likely_usd:.4g}, " if self.likely_usd is not None else ""
        low, high = self.calls
        return f"{likely}${self.low_usd:.4g} to ${self.high_usd:.4g} for {self.rows} rows in {low} to {high} calls"

    __repr__ = __str__


def view_of(answer: Any) -> models.JobView:
    return models.JobView.model_validate(answer)


def estimate(work: Work) -> Flow[Estimate]:
    answer = models.Estimate.model_validate((yield from write("POST", "/v1/estimates", work.asked())))
    expected = answer.expected
    return Estimate(
        rows=answer.items,
        calls=(expected.calls.low, expected.calls.high),
        low_usd=expected.cost_usd.low,
        likely_usd=expected.likely_usd,
        high_usd=expected.cost_usd.high,
        seconds=(expected.seconds.low, expected.seconds.high),
        details=answer,
    )


def start(work: Work) -> Flow[models.JobView]:
    """Submits the job, unless it was submitted before."""
    if work.job is None:
        work.view = view_of((yield from submit(work.asked(), work.key)))
        work.job = work.view.id
    elif work.view is None:
        return (yield from refresh(work))
    assert work.view is not None
    return work.view


def job_of(work: Work) -> str:
    if work.job is None:
        raise FanwiseError("The job has not been submitted; call `wait()` or `start()`.")
    return work.job


def refresh(work: Work) -> Flow[models.JobView]:
    work.view = view_of((yield from get(f"/v1/jobs/{job_of(work)}")))
    return work.view


def command(work: Work, name: str, body: Mapping[str, Any] | None = None) -> Flow[models.JobView]:
    # A retry that was begun is refused the second time; the others are the same done twice.
    answer = yield from write("POST", f"/v1/jobs/{job_of(work)}/{name}", body, safe=name != "retry")
    work.view = view_of(answer)
    return work.view


def change(work: Work, body: Mapping[str, Any]) -> Flow[models.JobView]:
    work.view = view_of((yield from write("PATCH", f"/v1/jobs/{job_of(work)}", body)))
    return work.view


def wait(work: Work, progress: bool | Progress, timeout: float | None) -> Flow[models.JobView]:
    """Submits the job where it has not been, and waits for its end."""
    show = _shown(progress)
    end = None if timeout is None else time.monotonic() + timeout
    poll = FIRST_POLL
    view = yield from start(work)
    while True:
        show(view)
        if view.state in OVER:
            break
        if _stands_still(view):
            raise JobHalted(view)
        if end is not None and time.monotonic() + poll > end:
            raise WaitTimeout(f"Job {view.id} is {view.state} after {timeout} s. It goes on; call `wait()` again.")
        yield Wait(poll)
        poll = min(poll * 1.3, LONGEST_POLL)
        view = yield from refresh(work)
    if view.state == "failed":
        raise JobFailed(view)
    return view


def _stands_still(view: models.JobView) -> bool:
    stopped = view.state in ("paused", "awaiting_approval")
    return stopped and (view.halt is None or view.halt.resumes_at is None)


def try_rows(work: Work, n: int, progress: bool | Progress, timeout: float | None) -> Flow[Work]:
    """A small job over some of the rows. The whole job extends it, and so does a larger trial."""
    if work.job is not None:
        raise FanwiseError("The job has been submitted; a trial comes before it.")
    places = work.sample(n)
    known = next((trial for trial in work.trials if trial.answered and set(places) <= set(trial.places)), None)
    part = work.trial(places)
    if known is not None:
        part.job = known.job
        yield from refresh(part)
        return part
    failed = None
    try:
        view = yield from wait(part, progress, timeout)
    except JobFailed as error:
        failed, view = error, error.job
    answered = view.progress.items.covered > 0
    work.trials.append(Trial(view.id, places, view.cost.spent_usd + view.cost.possibly_paid_usd, answered))
    if failed is not None:
        raise failed
    return part


def rows(work: Work) -> Flow[list[Row[Any]]]:
    found = yield from fetch(job_of(work))
    return join(work.ids, work.skipped, found, work.into)


def line(view: models.JobView) -> str:
    """A job in one line, for people."""
    items, cost = view.progress.items, view.cost
    parts = [f"{items.covered:,} of {items.total:,} rows", view.state, f"${cost.spent_usd:.4f}"]
    if cost.limit_usd is not None:
        parts[-1] += f" of ${cost.limit_usd:g}"
    if cost.saved_usd:
        parts.append(f"${cost.saved_usd:.4f} saved")
    if view.halt is not None:
        parts.append(view.halt.detail)
    return " · ".join(parts)


def _shown(progress: bool | Progress) -> Progress:
    if callable(progress):
        return progress
    if not progress:
        return lambda view: None
    width = 0

    def show(view: models.JobView) -> None:
        nonlocal width
        text = line(view)
        end = "\n" if view.state in OVER else ""
        sys.stderr.write(f"\r{text.ljust(width)}{end}")
        sys.stderr.flush()
        width = len(text)

    return show
