"""A job as the client holds it: rows made ready, the body to submit, and what was tried before."""

from __future__ import annotations

import hashlib
import heapq
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _cells as cells
from . import _models as models
from ._errors import InvalidInput
from ._into import Into
from ._tables import Table, table

STAGE = "answer"
REPORT = "report"


@dataclass
class Trial:
    """A small job over some of the rows."""

    job: str
    places: list[int]
    spent_usd: float
    # Whether the whole job can take its answers over.
    answered: bool


@dataclass
class Work:
    table: Table
    ids: list[str]
    items: list[dict[str, Any]]
    # By the place of the row: why it is not sent.
    skipped: dict[int, str]
    into: Into
    # The submit without its input.
    body: dict[str, Any]
    key: str
    job: str | None = None
    view: models.JobView | None = None
    trials: list[Trial] = field(default_factory=list)

    def asked(self) -> dict[str, Any]:
        """The whole submit. What trials paid is off the cap, and what they found out is not asked again."""
        body = {**self.body, "input": {"items": self.items}}
        trial = self.base()
        if trial is not None:
            body["extends"] = trial.job
        limits = dict(body.get("limits") or {})
        cap = limits.get("max_cost_usd")
        if cap is not None and self.trials:
            left = cap - sum(trial.spent_usd for trial in self.trials)
            if left <= 0:
                raise InvalidInput(f"The trials cost all of max_usd={cap}. Raise it.")
            body["limits"] = {**limits, "max_cost_usd": left}
        return body

    def base(self) -> Trial | None:
        """The trial that knows most; each takes over what those before it knew."""
        return next((trial for trial in reversed(self.trials) if trial.answered), None)

    def sample(self, n: int) -> list[int]:
        """Places of `n` rows, spread over the whole. A smaller sample is part of a larger one, so none is paid twice."""
        if n < 1:
            raise InvalidInput("A trial needs at least one row.")
        sent = (place for place in range(len(self.table)) if place not in self.skipped)
        return sorted(heapq.nsmallest(n, sent, key=lambda place: hashlib.sha256(str(place).encode()).digest()))

    def trial(self, places: Sequence[int]) -> Work:
        """The same work over some rows, live and without the report."""
        chosen = {self.ids[place] for place in places}
        body = {**self.body, "delivery": "live"}
        body["stages"] = [stage for stage in self.body["stages"] if stage["kind"] == "map"]
        # Its key is its own: the whole job may have the caller's.
        part = Work(
            table=self.table.take(places),
            ids=[self.ids[place] for place in places],
            items=[item for item in self.items if item["id"] in chosen],
            skipped={},
            into=self.into,
            body=body,
            key=uuid.uuid4().hex,
            trials=list(self.trials),
        )
        return part


def rows_of(rows: Any, id: str | None, text: str | None, fields: Sequence[str] | None) -> tuple[Table, list[str]]:
    """The table, and the columns whose cells are sent."""
    given = table(rows)
    if not len(given):
        raise InvalidInput("There are no rows.")
    if isinstance(fields, str):
        raise InvalidInput("`fields` must be a list of columns.")
    sent = list(fields) if fields is not None else [] if text is not None else [c for c in given.columns if c != id]
    return given, [column for column in sent if column != text]


def prepare(
    rows: Any,
    *,
    id: str | None,
    text: str | None,
    fields: Sequence[str] | None,
    into: Any,
    body: Mapping[str, Any],
    key: str | None,
) -> Work:
    """Rows as items. Nothing is sent."""
    given, sent = rows_of(rows, id, text, fields)
    ids = row_ids(given, id)
    sources = [("text", text)] if text is not None else []
    # `id` names the item itself; a column of that name which is not the id keeps its cells under another.
    sources += [("id_" if column == "id" else column, column) for column in sent]
    columns = [(cells.text(name), given.values(column)) for name, column in sources]
    items, skipped = [], {}
    for place, row in enumerate(ids):
        item: dict[str, Any] = {"id": row}
        for name, values in columns:
            value = cells.to_json(values[place])
            if not cells.says_nothing(value):
                item[name] = value
        if len(item) > 1:
            items.append(item)
        else:
            skipped[place] = "blank"
    if not items:
        raise InvalidInput("Every row is blank in the columns that are sent.")
    return Work(given, ids, items, skipped, Into(into), dict(body), key or uuid.uuid4().hex)


def row_ids(given: Table, column: str | None) -> list[str]:
    """An id for each row. Where the cell can be none, the row goes by its place, as the service names items itself."""
    cells_of = given.values(column) if column is not None else [None] * len(given)
    ids: list[str] = []
    seen: dict[str, int] = {}
    for place, cell in enumerate(cells_of):
        row = cells.to_id(cell) or f"item-{place + 1}"
        if row in seen:
            raise InvalidInput(
                f"Rows {seen[row]} and {place} (from 0) have the same id {row!r}. "
                "Ids must differ; leave out `id` to number the rows."
            )
        seen[row] = place
        ids.append(row)
    return ids


def body_of(
    *,
    ask: str,
    into: Into,
    report: str | None = None,
    max_usd: float | None = None,
    model: str | None = None,
    context: str | None = None,
    count_by: Sequence[str] = (),
    rows_per_call: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The submit that the arguments of `map` stand for. `options` are laid over it, field by field."""
    stage: dict[str, Any] = {"name": STAGE, "kind": "map", "output": "item", "instructions": ask}
    if into.schema is not None:
        stage["output_schema"] = into.schema
    if model is not None:
        stage["model"] = model
    if rows_per_call is not None:
        stage["chunk"] = {"items": rows_per_call}
    if count_by:
        stage["merge"] = {"count_by": list(count_by)}
    stages = [stage]
    if report is not None:
        stages.append({"name": REPORT, "kind": "synthesis", "instructions": report})
    body: dict[str, Any] = {"task": report or ask, "stages": stages}
    if context is not None:
        body["context"] = context
    if max_usd is not None:
        body["limits"] = {"max_cost_usd": max_usd}
    return _laid_over(body, options or {})


def _laid_over(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(body)
    for name, value in options.items():
        known = merged.get(name)
        merged[name] = _laid_over(known, value) if isinstance(known, dict) and isinstance(value, Mapping) else value
    return merged
