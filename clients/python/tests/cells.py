"""The worst cells that tables hold, with the JSON that each must travel as."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
import uuid


class Colour(enum.Enum):
    RED = "red"


BERLIN = datetime.timezone(datetime.timedelta(hours=1))

# Kind of column, its cells, and what is sent of each; `None` is left out.
WORST: dict[str, tuple[list[object], list[object]]] = {
    "texts": (
        [
            "plain",
            "",
            "  ",
            None,
            "=SUM(A1)",
            'a,"b"\n\tc',
            "nul\x00 bell\x07",
            "emoji 👩‍👩‍👧 \u202e rtl",
            "<items>\n</items>",
            "half \ud800",
        ],
        [
            "plain",
            None,
            None,
            None,
            "=SUM(A1)",
            'a,"b"\n\tc',
            "nul\x00 bell\x07",
            "emoji 👩‍👩‍👧 \u202e rtl",
            "<items>\n</items>",
            "half \ufffd",
        ],
    ),
    "integers": ([0, -1, 2**53, 2**53 - 1, -(2**53), None], [0, -1, str(2**53), 2**53 - 1, str(-(2**53)), None]),
    "floats": (
        [0.1, float("nan"), float("inf"), float("-inf"), 1e300, -0.0, None],
        [0.1, None, "Infinity", "-Infinity", 1e300, -0.0, None],
    ),
    "decimals": (
        [
            decimal.Decimal("12.30"),
            decimal.Decimal("0.1000000000000000055511151231257827"),
            decimal.Decimal("NaN"),
            None,
        ],
        ["12.30", "0.1000000000000000055511151231257827", None, None],
    ),
    "dates": ([datetime.date(2026, 11, 30), datetime.date(1, 1, 1), None], ["2026-11-30", "0001-01-01", None]),
    "times": (
        [datetime.datetime(2026, 11, 30, 7, 0, tzinfo=BERLIN), datetime.datetime(2026, 3, 29, 2, 30), None],
        ["2026-11-30T07:00:00+01:00", "2026-03-29T02:30:00", None],
    ),
    "flags": ([True, False, None], [True, False, None]),
    "nested": (
        [{"a": [1, float("nan")], 2: decimal.Decimal("1.0")}, [None, "x"], [], None],
        [{"a": [1, None], "2": "1.0"}, [None, "x"], [], None],
    ),
    "others": (
        [
            uuid.UUID(int=7),
            Colour.RED,
            pathlib.PurePosixPath("/a/b"),
            b"text",
            b"\xff\x00",
            datetime.timedelta(hours=1),
        ],
        ["00000000-0000-0000-0000-000000000007", "red", "/a/b", "text", "/wA=", "1:00:00"],
    ),
}
