"""Tables of callers: pandas, polars, and plain lists. Nothing is imported that the caller has not imported before."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._errors import InvalidInput

TEXT = "text"


class Table:
    """Rows as the caller has them. `source` is never changed."""

    def __init__(self, kind: str, source: Any, columns: Sequence[str], length: int) -> None:
        self.kind = kind
        self.source = source
        self.columns = list(columns)
        self.length = length

    def __len__(self) -> int:
        return self.length

    def values(self, column: str) -> list[Any]:
        """The cells of one column, as Python values."""
        places = [place for place, name in enumerate(self.columns) if name == column]
        if not places:
            names = ", ".join(f"`{name}`" for name in self.columns)
            raise InvalidInput(f"There is no column `{column}`; there are {names}.")
        if len(places) > 1:
            raise InvalidInput(f"Two columns are named `{column}`; rename one of them.")
        if self.kind == "pandas":
            return list(self.source.iloc[:, places[0]].tolist())
        if self.kind == "polars":
            return list(self.source.get_column(column).to_list())
        return [row.get(column) for row in self.source]

    def take(self, places: Sequence[int]) -> Table:
        """Some of the rows, in this order."""
        if self.kind == "pandas":
            source = self.source.iloc[list(places)]
        elif self.kind == "polars":
            source = self.source[list(places)]
        else:
            source = [self.source[place] for place in places]
        return Table(self.kind, source, self.columns, len(places))


def table(rows: Any) -> Table:
    """Whatever the caller calls rows."""
    library = type(rows).__module__.split(".")[0]
    name = type(rows).__name__
    if library == "pandas" and name == "Series":
        rows = rows.to_frame(name=rows.name if rows.name is not None else TEXT)
        name = "DataFrame"
    if library == "polars" and name == "Series":
        rows = rows.to_frame(rows.name or TEXT)
        name = "DataFrame"
    if library == "pandas" and name == "DataFrame":
        if rows.columns.nlevels > 1:
            raise InvalidInput("The columns have several levels; flatten them to one first.")
        return Table("pandas", rows, [str(column) for column in rows.columns], len(rows))
    if library == "polars" and name == "DataFrame":
        return Table("polars", rows, rows.columns, rows.height)
    if library == "polars" and name == "LazyFrame":
        raise InvalidInput("A LazyFrame has no rows yet; call `collect()` first.")
    return _plain(rows)


def _plain(rows: Any) -> Table:
    if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
        raise InvalidInput(f"Rows must be a DataFrame or a list of texts, dicts or models, not {type(rows).__name__}.")
    records = [_record(row, place) for place, row in enumerate(rows)]
    columns: dict[str, None] = {}
    for record in records:
        columns.update(dict.fromkeys(record))
    return Table("list", records, list(columns), len(records))


def _record(row: Any, place: int) -> dict[str, Any]:
    if row is None or isinstance(row, str):
        return {TEXT: row}
    if isinstance(row, Mapping):
        return {str(name): value for name, value in row.items()}
    if hasattr(row, "model_dump"):
        return dict(row.model_dump())
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {field.name: getattr(row, field.name) for field in dataclasses.fields(row)}
    raise InvalidInput(f"Row {place} is {type(row).__name__}; it must be a text, a dict or a model.")


def free(name: str, names: Iterable[str]) -> str:
    """`name`, with `out_` before it while the name is in use."""
    used = set(names)
    while name in used:
        name = f"out_{name}"
    return name


def to_pandas(table: Table, added: Mapping[str, list[Any]]) -> Any:
    """The table with columns added at its end, as a new pandas DataFrame."""
    import pandas as pd

    if table.kind == "pandas":
        frame = table.source.copy()
    elif table.kind == "polars":
        frame = table.source.to_pandas()
    else:
        frame = pd.DataFrame({name: pandas_series(table.values(name)) for name in table.columns})
    new = {name: pandas_series(values, frame.index) for name, values in added.items()}
    # In one step: column by column, pandas copies the frame each time.
    return pd.concat([frame, pd.DataFrame(new, index=frame.index)], axis=1)


def pandas_series(values: list[Any], index: Any = None) -> Any:
    """Values with gaps: integers stay integers, and true and false stay what they are."""
    import pandas as pd

    present = [value for value in values if value is not None]
    types = {type(value) for value in present}
    dtype: Any = None
    if types == {bool}:
        dtype = "boolean"
    elif types == {int}:
        dtype = "Int64" if all(-(2**63) <= value < 2**63 for value in present) else object
    elif not types or types & {dict, list, tuple, set} or len(types - {int, float}) > 1 or bool in types:
        dtype = object
    return pd.Series(values, index=index, dtype=dtype)


def to_polars(table: Table, added: Mapping[str, list[Any]]) -> Any:
    """The table with columns added at its end, as a new polars DataFrame."""
    import polars as pl

    if table.kind == "polars":
        frame = table.source
    elif table.kind == "pandas":
        frame = pl.from_pandas(table.source)
    else:
        frame = pl.DataFrame([polars_series(name, table.values(name)) for name in table.columns])
    return frame.with_columns([polars_series(name, values) for name, values in added.items()])


def polars_series(name: str, values: list[Any]) -> Any:
    """Values of one type, or, where they are of several, their text."""
    import polars as pl

    try:
        return pl.Series(name, values)
    except (TypeError, pl.exceptions.PolarsError):
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
