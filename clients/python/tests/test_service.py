"""How the client bears with the service and the network."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable

import httpx
import pytest
from fake import TOKEN, Fake, problem

import fanwise
from fanwise import (
    ApiError,
    AsyncFanwise,
    AsyncJob,
    Fanwise,
    FanwiseError,
    Job,
    JobFailed,
    JobHalted,
    Unreachable,
    WaitTimeout,
)
from fanwise._schedules import AsyncSchedules, Schedules


def lost(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def away(request: httpx.Request) -> httpx.Response:
    return problem(503, "unavailable", "Try again.")


def busy(request: httpx.Request) -> httpx.Response:
    return httpx.Response(429, json=problem(429, "rate_limited", "Too many.").json(), headers={"retry-after": "7"})


def gateway(request: httpx.Request) -> httpx.Response:
    return httpx.Response(502, text="<html>Bad gateway</html>")


def test_what_passes_is_tried_again_and_is_one_job(fw: Fanwise, fake: Fake) -> None:
    fake.faults = [lost, away, gateway, busy]
    fw.map(["x"], ask="?").start()
    assert len(fake.jobs) == 1 and fake.waits == [0.5, 1.0, 2.0, 7.0]
    assert len({request.headers["idempotency-key"] for request in fake.requests}) == 1


def test_a_lost_answer_is_one_job(fw: Fanwise, fake: Fake) -> None:
    def done_and_lost(request: httpx.Request) -> httpx.Response:
        fake.submit(request)
        raise httpx.ReadError("reset")

    fake.faults = [done_and_lost]
    fw.map(["x"], ask="?").wait()
    assert len(fake.jobs) == 1


@pytest.mark.parametrize(("fault", "error"), [(lost, Unreachable), (away, ApiError)])
def test_what_does_not_pass_is_told(
    fw: Fanwise, fake: Fake, fault: Callable[[httpx.Request], httpx.Response], error: type[Exception]
) -> None:
    fake.faults = [fault] * 6
    with pytest.raises(error):
        fw.map(["x"], ask="?").start()
    assert len(fake.requests) == 6


def test_what_is_not_the_same_twice_is_not_asked_twice(fw: Fanwise, fake: Fake) -> None:
    fake.faults = [lost]
    with pytest.raises(Unreachable, match="https://fanwise.test does not answer: refused"):
        fw.schedules.create("@daily", {"task": "x"})
    assert len(fake.requests) == 1


def test_refusals_name_each_fault(fw: Fanwise, fake: Fake) -> None:
    fake.faults = [
        lambda _: problem(
            422, "invalid_request", "The request has a fault.", [{"path": "stages[0].model", "message": "is not known"}]
        )
    ]
    with pytest.raises(ApiError) as refused:
        fw.map(["x"], ask="?", model="gpt").start()
    assert (
        str(refused.value)
        == "The request has a fault. (422 invalid_request, request req_1)\n  stages[0].model is not known"
    )
    assert refused.value.code == "invalid_request" and refused.value.faults == [("stages[0].model", "is not known")]
    fake.faults = [lambda _: httpx.Response(404, text="<html>")]
    with pytest.raises(ApiError, match="not from Fanwise: '<html>'"):
        fw.job("job_0")


def test_results_that_break_off_are_read_again(fw: Fanwise, fake: Fake) -> None:
    job = fw.map(["x"], ask="?").wait()
    broken = lambda _: httpx.Response(200, text='{"data":[{"id":"item-1","output":')  # noqa: E731
    fake.faults = [broken, lost, broken]
    assert [row.status for row in job.rows()] == ["ok"]
    fake.faults = [broken] * 5
    with pytest.raises(Unreachable, match="broke off 5 times"):
        job.rows()


def test_waiting_ends_where_the_job_cannot_go_on(fw: Fanwise, fake: Fake) -> None:
    fake.states, fake.halt = ["queued", "paused"], {"reason": "budget", "detail": "The budget is spent."}
    job = fw.map(["x"], ask="?")
    with pytest.raises(JobHalted, match="is paused: The budget is spent. Raise the limit"):
        job.wait()
    job.change(max_usd=2)
    assert fake.bodies[-1] == {"limits": {"max_cost_usd": 2}}
    job.resume()
    assert job.wait().state == "succeeded"
    fake.states, fake.halt = ["awaiting_approval"], {"reason": "approval", "detail": "The plan waits."}
    job = fw.map(["x"], ask="?")
    with pytest.raises(JobHalted, match=r"Call `approve\(\)`"):
        job.wait()
    job.approve()
    assert job.wait().state == "succeeded"


def test_a_quota_that_ends_by_itself_is_waited_for(fw: Fanwise, fake: Fake) -> None:
    fake.states = ["paused", "paused", "running", "succeeded"]
    fake.halt = {"reason": "quota", "detail": "The day's budget is spent.", "resumes_at": "2026-12-01T00:00:00Z"}
    assert fw.map(["x"], ask="?").wait().state == "succeeded"
    assert len(fake.waits) == 3


def test_failures_raise_and_can_be_retried(fw: Fanwise, fake: Fake) -> None:
    fake.states = ["running", "failed"]
    job = fw.map(["x"], ask="?")
    with pytest.raises(JobFailed, match=r"No worker brought a result\. \(no_results\) 1 of 1 rows"):
        job.wait()
    assert job.rows()[0].status == "ok"
    job.retry(max_usd=3)
    assert job.wait().state == "succeeded"


def test_waiting_can_have_an_end(fw: Fanwise, fake: Fake) -> None:
    fake.states = ["running"]
    with pytest.raises(WaitTimeout, match="It goes on"):
        fw.map(["x"], ask="?").wait(timeout=0)
    assert issubclass(WaitTimeout, TimeoutError)


def test_progress_is_one_line(fw: Fanwise, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    job = fw.map(["x", "y"], ask="?", max_usd=5).wait(progress=True)
    assert screen.getvalue().endswith("\r2 of 2 rows · succeeded · $0.2500 of $5\n")
    seen: list[str] = []
    fw.map(["x"], ask="?").wait(progress=lambda view: seen.append(view.state))
    assert seen == ["running", "succeeded"]
    assert repr(job) == f"<Job {job.id}: 2 of 2 rows · succeeded · $0.2500 of $5>"


def test_schedules(fw: Fanwise, fake: Fake) -> None:
    job = fw.map(["x"], ask="?", max_usd=1)
    made = fw.schedules.create(
        "0 7 * * MON-FRI", job, name="daily", time_zone="Europe/Berlin", input_url="https://example.com/x.csv"
    )
    assert "input" not in fake.schedules[made.id]["job"] and fake.schedules[made.id]["job"]["limits"] == {
        "max_cost_usd": 1
    }
    assert (made.name, made.time_zone) == ("daily", "Europe/Berlin")
    kept = fw.schedules.create("@daily", job)
    assert fake.schedules[kept.id]["job"]["input"] == {"items": [{"id": "item-1", "text": "x"}]}
    assert [schedule.id for schedule in fw.schedules.list()] == [made.id, kept.id]
    assert fw.schedules.update(made.id, paused=True).paused and fw.schedules.get(made.id).paused
    assert fw.schedules.run(made.id).state == "waiting"
    fw.schedules.delete(made.id)
    assert list(fake.schedules) == [kept.id]


def test_what_was_not_submitted_has_no_rows(fw: Fanwise, fake: Fake) -> None:
    job = fw.map(["x"], ask="?")
    with pytest.raises(FanwiseError, match="has not been submitted"):
        job.rows()
    assert not fake.requests and job.state == "not submitted" and repr(job) == "<Job : 1 rows, not submitted>"


def test_the_environment_says_where_and_who(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FANWISE_URL", raising=False)
    with pytest.raises(FanwiseError, match="FANWISE_URL"):
        Fanwise()
    monkeypatch.setenv("FANWISE_URL", "https://fanwise.test/")
    monkeypatch.setenv("FANWISE_TOKEN", TOKEN)
    Fanwise(transport=fake.transport()).map(["x"], ask="?").wait()
    assert str(fake.requests[0].url) == "https://fanwise.test/v1/jobs"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_async_client_does_the_same(fake: Fake, backend: str) -> None:
    import anyio

    if backend == "trio":
        pytest.importorskip("trio")
    fake.faults = [away]

    async def main() -> None:
        async with AsyncFanwise("https://fanwise.test", TOKEN, transport=fake.transport()) as fw:
            job = fw.map(["x", "crash"], ask="?", rows_per_call=1)
            assert (await job.estimate()).rows == 2
            assert len(await (await job.try_rows(1)).rows()) == 1
            assert (await job.wait()).state == "succeeded"
            assert [row.status for row in await job.rows()] == ["ok", "ok"]
            assert len(await job.to_pandas()) == len(await job.to_polars()) == 2
            assert (await job.report()) is not None
            made = await fw.schedules.create("@daily", job)
            assert [schedule.id for schedule in await fw.schedules.list()] == [made.id]
            assert [found.id async for found in fw.jobs()] == list(fake.jobs)
            with pytest.raises(ApiError):
                await fw.job("job_0")

    anyio.run(main, backend=backend)
    assert len(fake.asked) == 2


@pytest.mark.parametrize(
    ("plain", "asynchronous"), [(Fanwise, AsyncFanwise), (Job, AsyncJob), (Schedules, AsyncSchedules)]
)
def test_both_clients_have_the_same_methods(plain: type, asynchronous: type) -> None:
    def methods(of: type) -> dict[str, list[str]]:
        found = inspect.getmembers(of, inspect.isfunction)
        return {name: list(inspect.signature(method).parameters) for name, method in found if not name.startswith("_")}

    assert methods(plain) == methods(asynchronous)


def test_version_is_that_of_the_package() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    assert f'version = "{fanwise.__version__}"' in text
