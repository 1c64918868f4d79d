"""Each kind of cell has one form as JSON, and one as an id."""

from __future__ import annotations

import datetime
import decimal
import json
import math

import pytest
from cells import WORST

from fanwise import _cells as cells


@pytest.mark.parametrize("kind", WORST)
def test_worst_cells_travel_as_written_down(kind: str) -> None:
    given, sent = WORST[kind]
    for cell, expected in zip(given, sent, strict=True):
        found = cells.to_json(cell)
        found = None if cells.says_nothing(found) else found
        assert found == expected and type(found) is type(expected), cell
        json.dumps(found, allow_nan=False, ensure_ascii=False).encode("utf-8")


def test_numpy_and_pandas_scalars_are_their_values() -> None:
    np = pytest.importorskip("numpy")
    pd = pytest.importorskip("pandas")
    for cell, expected in [
        (np.int64(7), 7),
        (np.uint64(2**64 - 1), str(2**64 - 1)),
        (np.float32("nan"), None),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.datetime64("2026-11-30T07:00:00.123456789"), "2026-11-30T07:00:00.123456789"),
        (np.datetime64("NaT"), None),
        (np.array([1.0, np.nan]), [1.0, None]),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2026-11-30", tz="Europe/Berlin"), "2026-11-30T00:00:00+01:00"),
        (pd.Period("2026-11"), "2026-11"),
    ]:
        found = cells.to_json(cell)
        assert found == expected and type(found) is type(expected), cell


@pytest.mark.parametrize(
    ("cell", "id"),
    [
        ("T-1", "T-1"),
        (7, "7"),
        (7.0, "7"),
        (7.5, "7.5"),
        (2**70, str(2**70)),
        (decimal.Decimal("3.10"), "3.10"),
        (datetime.date(2026, 11, 30), "2026-11-30"),
        (True, "true"),
        (math.nan, None),
        (None, None),
        ("", None),
        ("  ", None),
        ("a\tb", None),
        ("x" * 128, "x" * 128),
        ("x" * 129, None),
        ([1], None),
    ],
)
def test_ids_are_texts_and_whole_floats_are_integers(cell: object, id: str | None) -> None:
    assert cells.to_id(cell) == id
