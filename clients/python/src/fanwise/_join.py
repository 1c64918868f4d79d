"""Results beside the rows they belong to: the one place that knows how the service hands results out.

The service hands out every item with its fate; the rows themselves are the caller's own. Whatever it hands out later
changes `fetch` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from . import _models as models
from ._errors import ApiError
from ._http import Flow, get, whole
from ._into import Into
from ._tables import Table, free

T = TypeVar("T")

Status = Literal["ok", "flagged", "missing", "invalid", "skipped", "pending"]


@dataclass(frozen=True)
class Row(Generic[T]):
    """One row with its fate.

    | status | |
    |---|---|
    | `ok` | has an answer |
    | `flagged` | has an answer, and a check found something about it: `flags` |
    | `missing` | has none, and the job is over: `reason` is the service's |
    | `invalid` | has an answer that `into` does not take |
    | `skipped` | was not sent: there is nothing in it |
    | `pending` | has none yet |
    """

    place: int
    id: str
    status: Status
    reason: str | None
    output: T | None
    flags: list[str] = field(default_factory=list)


Found = dict[str, models.ResultRow]


def fetch(job: str) -> Flow[Found]:
    """Each item of the job with its result, or why it has none."""
    page = yield from whole(f"/v1/jobs/{job}/results", include="input")
    return {line["id"]: models.ResultRow.model_validate(line) for line in page["data"]}


def coverage(job: str) -> Flow[models.Report | None]:
    """The report, or nothing while the job is not over."""
    try:
        answer = yield from get(f"/v1/jobs/{job}/report")
    except ApiError as error:
        if error.code == "conflict":
            return None
        raise
    return models.Report.model_validate(answer)


def join(ids: Sequence[str], skipped: dict[int, str], found: Found, into: Into) -> list[Row[Any]]:
    """Each row in the caller's order."""
    return [
        Row(place, row, "skipped", skipped[place], None) if place in skipped else _row(place, row, found, into)
        for place, row in enumerate(ids)
    ]


def _row(place: int, row: str, found: Found, into: Into) -> Row[Any]:
    line = found.get(row)
    if line is None:
        return Row(place, row, "missing", "no_result", None)
    if line.status == "missing":
        if line.reason == "pending":
            return Row(place, row, "pending", None, None)
        return Row(place, row, "missing", line.reason, None)
    value, fault = into.read(line.output)
    if fault is not None:
        return Row(place, row, "invalid", fault, None, line.flags)
    return Row(place, row, "flagged" if line.flags else "ok", line.reason, value, line.flags)


def columns(table: Table, rows: Sequence[Row[Any]], into: Into, flags: bool = False) -> dict[str, list[Any]]:
    """What is added to the caller's columns: the answers', then `_flags` on request, then `_status` and `_reason`.

    A name that the table has already gets `out_` before it.
    """
    fields = dict.fromkeys(into.fields())
    cells = [into.cells(row.output) if row.output is not None else {} for row in rows]
    for answer in cells:
        fields.update(dict.fromkeys(answer))
    added: dict[str, list[Any]] = {}
    for name in fields:
        added[free(name, [*table.columns, *added])] = [answer.get(name) for answer in cells]
    if flags:
        added[free("_flags", [*table.columns, *added])] = [row.flags for row in rows]
    added[free("_status", [*table.columns, *added])] = [row.status for row in rows]
    added[free("_reason", [*table.columns, *added])] = [row.reason for row in rows]
    return added
