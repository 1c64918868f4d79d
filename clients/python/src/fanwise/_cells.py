"""One cell of a table as JSON, and one cell as an id.

Tables hold what JSON does not: NaN, NaT, numpy scalars, dates, Decimal. Each has one form here. What is blank becomes
`None`, and the caller leaves it out.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import math
import re
from collections.abc import Mapping
from typing import Any

# Larger integers lose digits in clients that read numbers as doubles, so they travel as text.
EXACT = 2**53 - 1
_SURROGATES = re.compile("[\ud800-\udfff]")
_MISSING_TYPES = {"NAType", "NaTType"}


def to_json(value: Any) -> Any:
    """A cell as JSON; `None` where it says nothing."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, int):
        return int(value) if abs(value) <= EXACT else str(int(value))
    if isinstance(value, float):
        return _float(float(value))
    if type(value).__name__ in _MISSING_TYPES:
        return None
    if isinstance(value, decimal.Decimal):
        return None if value.is_nan() else str(value)
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _bytes(bytes(value))
    return _structured(value)


def _structured(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return to_json(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {text(str(key)): to_json(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(entry) for entry in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_json({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    module = type(value).__module__.split(".")[0]
    if module == "numpy":
        return _numpy(value)
    if module == "polars" and hasattr(value, "to_list"):
        return to_json(value.to_list())
    return text(str(value))


def _numpy(value: Any) -> Any:
    if getattr(value, "ndim", 0):
        return [to_json(entry) for entry in value.tolist()]
    # Their `item` is an integer of nanoseconds.
    if type(value).__name__ in ("datetime64", "timedelta64"):
        written = str(value)
        return None if written == "NaT" else written
    return to_json(value.item())


def _float(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def _bytes(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return base64.b64encode(value).decode("ascii")


def text(value: str) -> str:
    """A text that UTF-8 can carry: half a surrogate pair is no character."""
    return _SURROGATES.sub("\ufffd", value)


def says_nothing(value: Any) -> bool:
    """Whether the service takes this as an empty field."""
    return value is None or (isinstance(value, str) and not value.strip())


def to_id(value: Any) -> str | None:
    """A cell as the id of its row; `None` where it can be none, and the row goes by its place.

    A column of integers with a gap is a column of floats in pandas: 7.0 is the id 7.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value).__module__.split(".")[0] == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 0):
        value = value.item() if type(value).__name__ not in ("datetime64", "timedelta64") else value
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    known = to_json(value)
    if known is None or isinstance(known, (list, dict)):
        return None
    written = str(known)
    return written if _may_be_id(written) else None


def _may_be_id(written: str) -> bool:
    control = any(ord(c) < 32 or 127 <= ord(c) < 160 for c in written)
    return bool(written.strip()) and len(written) <= 128 and not control
