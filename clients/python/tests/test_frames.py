"""pandas and polars: the caller's columns come back as they went in, and the answers' have types with gaps."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pydantic
import pytest
from cells import WORST
from fake import Fake

from fanwise import Fanwise, InvalidInput

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")


class Answer(pydantic.BaseModel):
    n: int
    sure: bool
    share: float
    words: list[str]
    day: datetime.date


def answers(item: dict[str, Any]) -> Any:
    number = int(item["id"].removeprefix("item-"))
    if number % 2:
        return {"n": 2**60 + number, "sure": True, "share": 0.5, "words": ["a"], "day": "2026-11-30"}
    return None


def frame() -> Any:
    return pd.DataFrame(
        {
            "whole": pd.array([1, None, 3, 4], dtype="Int64"),
            "floats": [1.0, float("nan"), 3.0, 4.0],
            "times": pd.to_datetime(["2026-11-30", None, "2026-12-01", "2026-12-02"], utc=True),
            "kinds": pd.Categorical(["a", None, "b", "a"]),
            "objects": [decimal.Decimal("1.10"), None, {"a": 1}, [1, 2]],
            0: ["x", "y", "z", ""],
        },
        index=[10, 10, 30, 40],
    )


def test_pandas_comes_back_as_it_went_in(fw: Fanwise, fake: Fake) -> None:
    fake.answer = answers
    given = frame()
    found = fw.map(given, ask="?", into=Answer).wait().to_pandas(flags=True)
    pd.testing.assert_frame_equal(found.iloc[:, :6], frame(), check_exact=True)
    pd.testing.assert_frame_equal(given, frame())
    assert list(found.columns[6:]) == ["n", "sure", "share", "words", "day", "_flags", "_status", "_reason"]
    # Integers stay exact beside a gap.
    assert found["n"].tolist() == [2**60 + 1, pd.NA, 2**60 + 3, pd.NA] and str(found["n"].dtype) == "Int64"
    assert str(found["sure"].dtype) == "boolean" and str(found["share"].dtype) == "float64"
    assert found["words"].tolist() == [["a"], None, ["a"], None]
    assert found["day"].iloc[0] == datetime.date(2026, 11, 30)
    assert found["_status"].tolist() == ["ok", "missing", "ok", "missing"]
    assert found["_reason"].tolist()[1] == "refused"
    assert fake.bodies[0]["input"]["items"][0] == {
        "id": "item-1",
        "whole": 1,
        "floats": 1.0,
        "times": "2026-11-30T00:00:00+00:00",
        "kinds": "a",
        "objects": "1.10",
        "0": "x",
    }
    assert fake.bodies[0]["input"]["items"][1] == {"id": "item-2", "0": "y"}


def test_polars_comes_back_as_it_went_in(fw: Fanwise, fake: Fake) -> None:
    fake.answer = answers
    given = pl.DataFrame(
        {
            "whole": [1, None, 3],
            "money": [decimal.Decimal("1.10"), None, decimal.Decimal("3.00")],
            "day": [datetime.date(2026, 11, 30), None, datetime.date(1, 1, 1)],
            "list": [[1, None], [], None],
            "struct": [{"a": 1, "b": "x"}, {"a": None, "b": None}, None],
            "kind": pl.Series(["a", None, "a"], dtype=pl.Categorical),
        }
    )
    found = fw.map(given, ask="?", into=Answer).wait().to_polars()
    assert found.select(given.columns).equals(given, null_equal=True)
    assert found.select(given.columns).schema == given.schema
    assert found["n"].to_list() == [2**60 + 1, None, 2**60 + 3]
    assert (
        found.schema["sure"] == pl.Boolean
        and found.schema["day"] == pl.Date
        and found.schema["words"] == pl.List(pl.String)
    )
    assert found["_status"].to_list() == ["ok", "missing", "ok"]
    assert fake.bodies[0]["input"]["items"][0]["money"] == "1.10"


def test_each_kind_of_rows_gives_each_kind_of_frame(fw: Fanwise) -> None:
    rows = [{"n": 1, "t": "a"}, {"n": None, "t": "b"}]
    for given in (rows, pd.DataFrame(rows), pl.DataFrame(rows)):
        job = fw.map(given, text="t", ask="?").wait()
        for made in (job.to_pandas(), job.to_polars()):
            assert list(made.columns) == ["n", "t", "tag", "urgent", "_status", "_reason"][:2] + [
                "text",
                *made.columns[3:],
            ]
    # A list's integers stay integers beside a gap.
    assert str(fw.map(rows, text="t", ask="?").wait().to_pandas()["n"].dtype) == "Int64"


def test_series_are_rows_too(fw: Fanwise, fake: Fake) -> None:
    for series in (pd.Series(["a"]), pl.Series(["a"])):
        fw.map(series, ask="?").wait()
        assert fake.bodies[-1]["input"]["items"] == [{"id": "item-1", "text": "a"}]


def test_frames_that_are_no_table_are_refused(fw: Fanwise) -> None:
    with pytest.raises(InvalidInput, match="collect"):
        fw.map(pl.DataFrame({"a": ["x"]}).lazy(), ask="?")
    with pytest.raises(InvalidInput, match="several levels"):
        fw.map(pd.DataFrame([["x"]], columns=pd.MultiIndex.from_tuples([("a", "b")])), ask="?")
    with pytest.raises(InvalidInput, match="Two columns"):
        fw.map(pd.DataFrame([["x", "y"]], columns=["a", "a"]), text="a", ask="?")


def test_a_float_column_of_ids_is_one_of_integers(fw: Fanwise, fake: Fake) -> None:
    given = pd.DataFrame({"k": [7, None, 9], "t": ["a", "b", "c"]})
    assert str(given["k"].dtype) == "float64"
    fw.map(given, id="k", text="t", ask="?").wait()
    assert [item["id"] for item in fake.bodies[0]["input"]["items"]] == ["7", "item-2", "9"]


@pytest.mark.parametrize("kind", WORST)
def test_worst_cells_travel_alike_in_pandas_and_in_lists(fw: Fanwise, fake: Fake, kind: str) -> None:
    cells, sent = WORST[kind]
    rows = [{"t": "x", "cell": cell} for cell in cells]
    for given in (rows, pd.DataFrame({"t": "x", "cell": pd.Series(cells, dtype=object)})):
        fw.map(given, text="t", fields=["cell"], ask="?").wait()
        found = [item.get("cell") for item in fake.bodies[-1]["input"]["items"]]
        assert found == sent
