"""The client against the real Worker, with the stand-in for Claude: `cargo xtask test --only "client python"`.

Wants FANWISE_URL, FANWISE_TOKEN and STANDIN_URL. FANWISE_ROWS is how many rows make the round trip (1,000).
"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import pydantic
import pytest
from cells import WORST

import fanwise
from fanwise import AsyncFanwise, Fanwise, _cells, _http

pytestmark = pytest.mark.skipif("FANWISE_URL" not in os.environ, reason="needs a running Worker")

ROWS = int(os.environ.get("FANWISE_ROWS", "1000"))
EXAMPLES = Path(__file__).parents[1] / "examples"


class Tag(pydantic.BaseModel):
    # The stand-in writes the item's own id here, so a result beside the wrong row shows.
    row_id: str
    category: Literal["billing", "bug", "other"]
    urgency: int
    refund: bool


class Standin:
    """What Claude was asked, read off the stand-in."""

    def __init__(self) -> None:
        self._http = httpx.Client(base_url=os.environ["STANDIN_URL"], timeout=60)
        self.reset()

    def reset(self) -> None:
        self._http.post("/control/config", json={"rules": [], "faults": {}}).raise_for_status()
        self._http.post("/control/reset").raise_for_status()

    def fault(self, **rule: Any) -> None:
        self._http.post("/control/config", json={"rules": [rule]}).raise_for_status()

    def items(self) -> list[dict[str, Any]]:
        """Every item of every worker's call."""
        calls = self._http.get("/control/calls", params={"limit": 100_000}).json()
        found = []
        for call in calls:
            if call["role"] == "worker":
                found += items_of(call["body"])
        return found


def items_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    content = body["messages"][0]["content"]
    text = content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)
    inside = text.split("<items>\n")[-1].split("\n</items>")[0]
    found: list[dict[str, Any]] = json.loads(inside)
    return found


@pytest.fixture
def standin() -> Iterator[Standin]:
    standin = Standin()
    yield standin
    standin.reset()


@pytest.fixture
def fw() -> Iterator[Fanwise]:
    with Fanwise() as client:
        yield client


def worst_rows(n: int) -> list[dict[str, Any]]:
    """Rows with every worst cell; each text differs, so that no row stands for another."""
    texts = WORST["texts"][0]
    rows = []
    for place in range(n):
        text = texts[place % len(texts)]
        row: dict[str, Any] = {"key": place if place % 7 else None}
        row["message"] = text if _cells.says_nothing(text) else f"{place} {text}"
        for kind in ("integers", "floats", "decimals", "dates", "times", "flags", "nested", "others"):
            cells = WORST[kind][0]
            row[kind] = cells[place % len(cells)]
        rows.append(row)
    return rows


def sent_of(row: dict[str, Any], place: int) -> dict[str, Any]:
    """The item that a row must travel as, from the table of cells."""
    item: dict[str, Any] = {"id": str(row["key"]) if row["key"] is not None else f"item-{place + 1}"}
    for kind, (given, sent) in WORST.items():
        cell = sent[place % len(given)]
        if cell is not None:
            item["text" if kind == "texts" else kind] = f"{place} {cell}" if kind == "texts" else cell
    return item


KINDS = ["integers", "floats", "decimals", "dates", "times", "flags", "nested", "others"]


def check_trip(rows: list[dict[str, Any]], found: list[dict[str, Any]], asked: list[dict[str, Any]]) -> None:
    """Each row has its own answer, and each cell reached Claude as it should."""
    expected = [sent_of(row, place) for place, row in enumerate(rows)]
    by_id = {item["id"]: item for item in asked}
    assert len(by_id) == len(asked) == len(rows), "an item was lost, or asked twice"
    for row, item in zip(found, expected, strict=True):
        assert row["row_id"] == item["id"] and row["_status"] == "ok" and row["_reason"] is None, row
        assert by_id[item["id"]] == item


def test_pandas_round_trip_cell_by_cell(fw: Fanwise, standin: Standin) -> None:
    pd = pytest.importorskip("pandas")
    rows = worst_rows(ROWS)
    given = pd.DataFrame(
        {name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0] if name != "key"}
    )
    # As a file brings it: integers with gaps are floats.
    given.insert(0, "key", [row["key"] for row in rows])
    assert str(given["key"].dtype) == "float64"
    given.index = pd.Index([f"r{place // 2}" for place in range(ROWS)])
    before = given.copy()
    job = fw.map(
        given, id="key", text="message", fields=KINDS, ask="Tag the row.", into=Tag, rows_per_call=50, max_usd=50
    )
    found = job.wait(timeout=900).to_pandas()
    pd.testing.assert_frame_equal(given, before)
    pd.testing.assert_frame_equal(found[list(before.columns)], before, check_exact=True)
    assert list(found.columns) == [*before.columns, *Tag.model_fields, "_status", "_reason"]
    assert [str(found[name].dtype) for name in ("urgency", "refund")] == ["Int64", "boolean"]
    answers = found[[*Tag.model_fields, "_status", "_reason"]].astype(object).where(lambda frame: frame.notna(), None)
    check_trip(rows, answers.to_dict("records"), standin.items())


def test_polars_round_trip_cell_by_cell(fw: Fanwise, standin: Standin) -> None:
    pl = pytest.importorskip("polars")
    rows = worst_rows(ROWS)
    # polars has no column of mixed objects, and no half characters; each kind of cell has a column of its own type.
    kinds = ["integers", "floats", "decimals", "dates", "flags"]
    for row in rows:
        row["message"] = None if row["message"] is None else _cells.text(row["message"])
        row["decimals"] = None if row["decimals"] is None or row["decimals"].is_nan() else row["decimals"]
    schema = {
        "key": pl.Int64,
        "message": pl.String,
        "integers": pl.Int64,
        "floats": pl.Float64,
        "decimals": pl.Decimal(38, 34),
        "dates": pl.Date,
        "flags": pl.Boolean,
    }
    given = pl.DataFrame(
        [{name: row[name] for name in schema} for row in rows], schema=schema, infer_schema_length=None
    )
    before = given.clone()
    job = fw.map(
        given, id="key", text="message", fields=kinds, ask="Tag the polars row.", into=Tag, rows_per_call=50, max_usd=50
    )
    found = job.wait(timeout=900).to_polars()
    assert (
        found.select(before.columns).equals(before, null_equal=True)
        and found.select(before.columns).schema == before.schema
    )
    assert found.columns == [*before.columns, *Tag.model_fields, "_status", "_reason"]
    assert found.schema["urgency"] == pl.Int64 and found.schema["refund"] == pl.Boolean
    asked = {item["id"]: item for item in standin.items()}
    skipped = 0
    for place, (row, answer) in enumerate(zip(rows, found.iter_rows(named=True), strict=True)):
        full = sent_of(row, place)
        item = {name: full[name] for name in ("id", "text", *kinds) if name in full}
        if len(item) == 1:
            skipped += 1
            assert answer["_status"] == "skipped" and answer["row_id"] is None
            continue
        sent = dict(asked[item["id"]])
        # A column of Decimal has one scale.
        for cell in (item, sent):
            if "decimals" in cell:
                cell["decimals"] = decimal.Decimal(cell["decimals"]).normalize()
        assert sent == item and answer["row_id"] == item["id"] and answer["_status"] == "ok"
    assert len(asked) == ROWS - skipped


def test_a_trial_is_not_paid_again(fw: Fanwise, standin: Standin) -> None:
    texts = [f"Ticket {n}: I was charged twice." for n in range(60)]
    job = fw.map(
        texts,
        ask="Tag the ticket, after a trial.",
        into=Tag,
        rows_per_call=20,
        max_usd=5,
        report="Sum up.",
        count_by=["category"],
    )
    estimate = job.estimate()
    assert estimate.rows == 60 and 0 < estimate.low_usd < estimate.high_usd
    trial = job.try_rows(5)
    assert [row.status for row in trial.rows()] == ["ok"] * 5
    larger = job.try_rows(12)
    assert trial.view is not None and larger.view is not None and larger.view.cost.saved_usd > 0
    job.wait(timeout=300)
    asked = [item["id"] for item in standin.items()]
    assert sorted(asked) == sorted(f"item-{n + 1}" for n in range(60)), "each row is asked once, in trials and whole"
    first = {row.id: row.output for row in trial.rows()}
    whole = {row.id: row.output for row in job.rows()}
    assert len(whole) == 60 and all(whole[id] == output for id, output in first.items())
    report = job.report()
    assert report is not None and report.coverage.covered == 60
    assert sum(report.merged.count_by["category"].values()) == 60


def test_the_same_job_again_costs_nothing(fw: Fanwise, standin: Standin) -> None:
    rows = [{"k": n, "t": f"Again {n}", "day": datetime.date(2026, 11, 30)} for n in range(40)]
    first = fw.map(rows, id="k", ask="Tag it again.", into=Tag, rows_per_call=10).wait(timeout=120)
    assert len(standin.items()) == 40
    second = fw.map(rows, id="k", ask="Tag it again.", into=Tag, rows_per_call=10).wait(timeout=120)
    assert len(standin.items()) == 40 and second.id != first.id
    assert second.view is not None and second.view.cost.spent_usd == 0 and second.view.cost.saved_usd > 0
    assert [row.output for row in second.rows()] == [row.output for row in first.rows()]


def test_missing_rows_have_a_reason(fw: Fanwise, standin: Standin) -> None:
    standin.fault(match={"item_id": "bad"}, fault="refusal")
    rows = [{"k": "good", "t": "fine"}, {"k": "bad", "t": "refused"}, {"k": "blank", "t": " "}]
    job = fw.map(rows, id="k", text="t", ask="Tag it, if you may.", into=Tag, rows_per_call=1).wait(timeout=120)
    assert job.state == "partial"
    found = job.rows()
    assert [row.status for row in found] == ["ok", "missing", "skipped"]
    assert found[1].reason == "refused" and found[2].reason == "blank"
    standin.reset()
    job.retry()
    assert job.wait(timeout=120).state == "succeeded"
    assert [row.status for row in job.rows()] == ["ok", "ok", "skipped"]


def test_every_type_is_a_schema_that_the_service_takes(fw: Fanwise) -> None:
    class Line(pydantic.BaseModel):
        what: str
        price: decimal.Decimal

    class Order(pydantic.BaseModel):
        day: datetime.date
        at: datetime.datetime | None
        lines: list[Line]
        share: float = pydantic.Field(ge=0, le=1)

    job = fw.map(["One ink on 3 May"], ask="Read the order.", into=Order).wait(timeout=120)
    row = job.rows()[0]
    # The stand-in fills formats, not sense; what does not fit the model is named and not hidden.
    assert row.status in ("ok", "invalid") and (row.output is None or isinstance(row.output, Order))
    for into in (
        Literal["yes", "no"],
        list[str],
        None,
        {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    ):
        rows = fw.map(["Is it late?"], ask=f"Answer as {into}.", into=into).wait(timeout=120).rows()
        # A flag marks an answer that looks odd, such as an empty list; it is an answer all the same.
        assert rows[0].status in ("ok", "flagged") and rows[0].output is not None


def test_large_inputs_go_as_a_file(fw: Fanwise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "INLINE_BYTES", 1000)
    texts = [f'File row {n}\n=1+1 "quoted" 👋' for n in range(50)]
    job = fw.map(texts, ask="Tag the file's row.", into=Tag, key="python-file").wait(timeout=120)
    assert [row.status for row in job.rows()] == ["ok"] * 50
    assert fw.map(texts, ask="Tag the file's row.", into=Tag, key="python-file").wait().id == job.id


def test_schedules(fw: Fanwise) -> None:
    job = fw.map(["Nightly"], ask="Tag it nightly.", into=Tag, max_usd=1)
    made = fw.schedules.create("0 7 * * MON-FRI", job, name="nightly", time_zone="Europe/Berlin")
    assert made.id in [schedule.id for schedule in fw.schedules.list()]
    assert len(made.next_runs) == 5 and fw.schedules.update(made.id, paused=True).paused
    assert fw.schedules.run(made.id).cause == "caller"
    fw.schedules.delete(made.id)
    with pytest.raises(fanwise.ApiError, match="404 not_found"):
        fw.schedules.get(made.id)


def test_faults_name_the_place(fw: Fanwise) -> None:
    with pytest.raises(fanwise.ApiError) as refused:
        fw.map(["x"], ask="?", model="gpt", rows_per_call=5000).wait()
    assert refused.value.code == "invalid_request"
    assert {path for path, _ in refused.value.faults} >= {"stages[0].chunk.items"}


def test_async(standin: Standin) -> None:
    async def main() -> None:
        async with AsyncFanwise() as fw:
            jobs = [fw.map([f"Side by side {n}"], ask="Tag it.", into=Tag) for n in range(3)]
            await asyncio.gather(*(job.wait(timeout=120) for job in jobs))
            rows = [row for job in jobs for row in await job.rows()]
            assert [row.status for row in rows] == ["ok"] * 3
            known = [job.id async for job in fw.jobs(state="succeeded")]
            assert {job.id for job in jobs} <= set(known)

    asyncio.run(main())


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    monkeypatch.chdir(EXAMPLES)
    notebook = json.loads((EXAMPLES / "tickets.ipynb").read_text(encoding="utf-8"))
    lines = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert sum(len(cell.splitlines()) for cell in lines) <= 16
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(lines):
        # The notebook has no future imports of this file.
        exec(compile(cell, f"cell {number}", "exec", dont_inherit=True), space)
    tagged = space["tagged"]
    assert (tagged["_status"] == "ok").all() and len(tagged) == 300
