"""From a table to a submit, and from results back to the table."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
from typing import Any, Literal

import pydantic
import pytest
from fake import TOKEN, Fake

from fanwise import Fanwise, InvalidInput, JobFailed, _http, _into


class Tag(pydantic.BaseModel):
    tag: Literal["bug", "other"]
    urgent: bool


TICKETS = [
    {"ticket_id": 7, "message": "It crashes.", "plan": "pro"},
    {"ticket_id": 8, "message": "   ", "plan": "free"},
    {"ticket_id": None, "message": "Thank you.", "plan": float("nan")},
]


def test_only_the_named_columns_are_sent_and_every_row_has_a_fate(fw: Fanwise, fake: Fake) -> None:
    job = fw.map(
        TICKETS, id="ticket_id", text="message", ask="Tag it.", into=Tag, max_usd=5, report="Sum up.", count_by=["tag"]
    )
    rows = job.wait().rows()
    body = fake.bodies[0]
    assert body["input"]["items"] == [{"id": "7", "text": "It crashes."}, {"id": "item-3", "text": "Thank you."}]
    assert body["limits"] == {"max_cost_usd": 5}
    assert body["stages"][0] == {
        "name": "answer",
        "kind": "map",
        "output": "item",
        "instructions": "Tag it.",
        "merge": {"count_by": ["tag"]},
        "output_schema": {
            "type": "object",
            "required": ["tag", "urgent"],
            "properties": {"tag": {"type": "string", "enum": ["bug", "other"]}, "urgent": {"type": "boolean"}},
        },
    }
    assert body["stages"][1] == {"name": "report", "kind": "synthesis", "instructions": "Sum up."}
    assert [(row.id, row.status, row.reason) for row in rows] == [
        ("7", "ok", None),
        ("8", "skipped", "blank"),
        ("item-3", "ok", None),
    ]
    assert rows[0].output == Tag(tag="bug", urgent=False)
    report = job.report()
    assert report is not None and report.synthesis == "All is well."


def test_all_columns_but_the_id_are_sent_where_none_is_named(fw: Fanwise, fake: Fake) -> None:
    fw.map([{"key": "a", "id": 3, "b": None, "c": 1}], id="key", ask="?").wait()
    # `id` belongs to the item, so a column of that name goes under another.
    assert fake.bodies[0]["input"]["items"] == [{"id": "a", "id_": 3, "c": 1}]


def test_fields_join_the_text(fw: Fanwise, fake: Fake) -> None:
    fw.map(TICKETS, text="message", fields=["plan"], ask="?").wait()
    assert fake.bodies[0]["input"]["items"][0] == {"id": "item-1", "text": "It crashes.", "plan": "pro"}
    assert fake.bodies[0]["input"]["items"][1] == {"id": "item-2", "plan": "free"}


def test_each_status_is_told_apart(fw: Fanwise, fake: Fake) -> None:
    answers: dict[str, Any] = {
        "ok": {"tag": "bug", "urgent": True},
        "flagged": {"tag": "bug", "urgent": True},
        "gone": None,
        "odd": {"tag": "new"},
    }
    fake.answer = lambda item: answers[item["text"]]
    fake.flags = {"item-2": "short"}
    fake.states = ["running", "partial"]
    job = fw.map(["ok", "flagged", "gone", "odd", None], ask="?", into=Tag)
    job.start()
    assert [row.status for row in job.rows()] == ["ok", "ok", "pending", "invalid", "skipped"]
    job.wait()
    assert [(row.status, row.reason) for row in job.rows()] == [
        ("ok", None),
        ("flagged", "short"),
        ("missing", "refused"),
        ("invalid", "tag: Input should be 'bug' or 'other'"),
        ("skipped", "blank"),
    ]


def test_names_that_are_taken_get_out_before_them(fw: Fanwise) -> None:
    frame = (
        fw.map([{"tag": "mine", "text": "x", "_status": "old", "out_tag": 1}], text="text", ask="?", into=Tag)
        .wait()
        .to_polars()
    )
    assert frame.columns == ["tag", "text", "_status", "out_tag", "out_out_tag", "urgent", "out__status", "_reason"]


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        ([], {}, "no rows"),
        (["", None], {}, "Every row is blank"),
        (["x"], {"text": "message"}, "There is no column `message`; there are `text`"),
        ([{"k": 1, "t": "a"}, {"k": 1.0, "t": "b"}], {"id": "k"}, "Rows 0 and 1 (from 0) have the same id '1'"),
        ("x", {}, "must be a DataFrame or a list"),
        ([3], {}, "Row 0 is int"),
        (["x"], {"fields": "text"}, "must be a list of columns"),
        (["x"], {"ask": " "}, "`ask` is empty"),
    ],
)
def test_what_cannot_be_a_job_is_refused_before_anything_is_sent(
    fw: Fanwise, fake: Fake, rows: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        fw.map(rows, **{"ask": "?", **options})
    assert says in str(refused.value)
    assert not fake.requests


def test_an_option_that_is_none_is_a_type_error(fw: Fanwise) -> None:
    with pytest.raises(TypeError, match="no option max_dollars"):
        fw.map(["x"], ask="?", max_dollars=5)  # type: ignore[call-overload]


def test_options_are_laid_over_field_by_field(fw: Fanwise, fake: Fake) -> None:
    fw.map(["x"], ask="?", max_usd=1, options={"limits": {"concurrency": 3}, "delivery": "batch"}).wait()
    assert fake.bodies[0]["limits"] == {"max_cost_usd": 1, "concurrency": 3}
    assert fake.bodies[0]["delivery"] == "batch"


def test_the_same_key_is_the_same_job(fw: Fanwise, fake: Fake) -> None:
    first = fw.map(["x"], ask="?", key="nightly").wait()
    second = fw.map(["x"], ask="?", key="nightly").wait()
    assert first.id == second.id and len(fake.jobs) == 1
    assert fw.map(["x"], ask="?").wait().id != first.id


def test_a_job_of_earlier_is_attached_to_its_rows(fw: Fanwise, fake: Fake) -> None:
    id = fw.map(TICKETS, id="ticket_id", text="message", ask="?", into=Tag).wait().id
    assert id is not None
    again = fw.attach(id, TICKETS, id="ticket_id", text="message", into=Tag)
    assert [row.status for row in again.rows()] == ["ok", "skipped", "ok"]
    assert again.wait().state == "succeeded" and len(fake.jobs) == 1
    assert [job.id for job in fw.jobs()] == [id] and fw.job(id).state == "succeeded"


def test_large_inputs_go_as_a_file_and_the_same_bytes_twice(
    fw: Fanwise, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "INLINE_BYTES", 100)
    texts = [f"text {n}\n--fanwise-rows" for n in range(50)]
    fw.map(texts, ask="?", key="k").wait()
    assert [item["text"] for item in fake.bodies[0]["input"]["items"]] == texts
    assert fake.requests[0].headers["content-type"].startswith("multipart/form-data; boundary=fanwise-rows-")
    fw.map(texts, ask="?", key="k").wait()
    assert len(fake.jobs) == 1


def test_a_trial_is_taken_over_and_off_the_cap(fw: Fanwise, fake: Fake) -> None:
    texts = [f"text {n}" for n in range(100)]
    job = fw.map(texts, ask="?", into=Tag, max_usd=5, report="Sum up.", rows_per_call=25)
    trial = job.try_rows(5)
    assert [row.status for row in trial.rows()] == ["ok"] * 5
    assert len(trial.to_pandas()) == 5
    assert [stage["kind"] for stage in fake.bodies[0]["stages"]] == ["map"]
    # Smaller: known already. Larger: only what is new.
    smaller = job.try_rows(3)
    assert smaller.id == trial.id and len(smaller.rows()) == 3 and len(fake.jobs) == 1
    larger = job.try_rows(20)
    assert larger.id != trial.id and len(fake.asked) == 20
    job.wait()
    assert sorted(fake.asked) == sorted(f"item-{n + 1}" for n in range(100))
    assert fake.bodies[-1]["extends"] == larger.id
    assert [body["limits"]["max_cost_usd"] for body in fake.bodies] == [5, 4.75, 4.5]
    # Rows of a trial come from all over the table.
    places = [int(row.id.removeprefix("item-")) for row in larger.rows()]
    assert places == sorted(places) and places[0] < 25 and places[-1] > 75


def test_a_trial_without_answers_is_not_extended_but_counts(fw: Fanwise, fake: Fake) -> None:
    job = fw.map(["a", "b"], ask="?", max_usd=5)
    fake.states, answer = ["failed"], fake.answer
    fake.answer = lambda item: None
    with pytest.raises(JobFailed, match="No worker brought a result"):
        job.try_rows(1)
    fake.states, fake.answer = ["succeeded"], answer
    job.wait()
    assert "extends" not in fake.bodies[-1] and fake.bodies[-1]["limits"] == {"max_cost_usd": 4.75}


def test_trials_that_spend_the_cap_leave_nothing(fw: Fanwise) -> None:
    job = fw.map(["a", "b"], ask="?", max_usd=0.25)
    job.try_rows(1)
    with pytest.raises(InvalidInput, match="Raise it"):
        job.wait()


def test_estimates_start_nothing(fw: Fanwise, fake: Fake) -> None:
    estimate = fw.map(["a", "b"], ask="?").estimate()
    assert str(estimate) == "about $0.07, $0.01 to $0.4 for 2 rows in 1 to 2 calls"
    assert not fake.jobs and estimate.details.limit_usd is None


@dataclasses.dataclass
class Point:
    day: datetime.date
    price: decimal.Decimal


def test_any_type_that_pydantic_knows_can_be_asked_for() -> None:
    point = _into.Into(Point)
    assert point.fields() == ["day", "price"]
    value, fault = point.read({"day": "2026-11-30", "price": "12.30"})
    assert fault is None and value == Point(datetime.date(2026, 11, 30), decimal.Decimal("12.30"))
    assert point.cells(value) == {"day": datetime.date(2026, 11, 30), "price": decimal.Decimal("12.30")}
    assert "(?" not in str(point.schema)
    word = _into.Into(Literal["a", "b"])
    assert word.schema == {
        "type": "object",
        "properties": {"value": {"type": "string", "enum": ["a", "b"]}},
        "required": ["value"],
        "additionalProperties": False,
    }
    assert word.read({"value": "a"}) == ("a", None) and word.cells("a") == {"value": "a"}
    plain = _into.Into({"type": "object", "properties": {"x": {}}})
    assert plain.read({"x": [1]}) == ({"x": [1]}, None) and plain.fields() == ["x"]
    assert _into.Into(None).fields() == ["text"]


class Named(pydantic.BaseModel):
    title: str
    kind: Literal["a"]


def test_a_field_named_like_a_keyword_stays() -> None:
    schema = _into.Into(Named).schema
    assert (
        schema is not None
        and set(schema["properties"]) == {"title", "kind"}
        and "title" not in schema["properties"]["title"]
    )
