"""What words in a table mean."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matinee.media.table_columns import DATE_PARTS, Schema, encode, kind_of, learn, moment, number


@pytest.mark.parametrize(
    ("word", "value"),
    [("1", 1), (" -2.5e3 ", -2500), ("3504.", 3504), ("1,234.5", 1234.5), ("$1,000", 1000), ("12 %", 12), ("€3", 3)],
)
def test_numbers_as_people_write_them(word: str, value: float) -> None:
    assert number(word) == value


@pytest.mark.parametrize("word", ["", "?", "NA", "n/a", "NaN", "null", "-", "inf", "None"])
def test_words_for_nothing(word: str) -> None:
    value = number(word)
    assert value is not None and math.isnan(value)


@pytest.mark.parametrize("word", ["abc", "1_000", "1,2", "12a", "1e300", "0x10", "$"])
def test_what_is_no_number(word: str) -> None:
    assert number(word) is None


@pytest.mark.parametrize(
    ("word", "day_first", "when"),
    [
        ("2024-05-31", False, datetime(2024, 5, 31)),
        ("2024-05-31T17:05:09Z", False, datetime(2024, 5, 31, 17, 5, 9)),
        ("2024/5/1 7:05", False, datetime(2024, 5, 1, 7, 5)),
        ("31.5.2024", False, datetime(2024, 5, 31)),
        ("5/31/2024", False, datetime(2024, 5, 31)),
        ("31/5/2024", True, datetime(2024, 5, 31)),
    ],
)
def test_dates(word: str, day_first: bool, when: datetime) -> None:
    assert moment(word, day_first) == when


@pytest.mark.parametrize("word", ["31/5/2024", "2024-13-01", "1/2/3", "yesterday", "2024-02-30", "12-5"])
def test_what_is_no_date(word: str) -> None:
    assert moment(word, False) is None


def test_kinds() -> None:
    assert kind_of(["1", "2", "?", "3.5"]) == "number"
    assert kind_of(["1"] * 19 + ["oops"]) == "number"
    assert kind_of(["1", "red", "blue"]) == "category"
    assert kind_of(["2024-01-01", "2024-02-01", ""]) == "date"
    assert kind_of(["13/01/2024", "02/03/2024"]) == "date-day-first"
    assert kind_of(["", "?"]) == "category"


def table() -> tuple[list[str], list[list[str]]]:
    header = ["id", "age", "city", "name", "empty", "same", "when", "code"]
    rows = [
        [str(i), str(20 + i % 7), ("Rome", "Oslo")[i % 2], f"person {i}", "?", "x", f"2024-01-{i + 1:02d}", str(i % 3)]
        for i in range(25)
    ]
    return header, rows


def test_columns_that_say_nothing_are_left_out_with_a_reason() -> None:
    learned = learn(*table(), unused=("code",))
    assert learned.schema.names == ("age", "city", "when")
    assert learned.schema.kinds == ("number", "category", "date")
    reasons = learned.left_out
    assert "identifier" in reasons["id"] and "name or a text" in reasons["name"]
    assert "missing" in reasons["empty"] and "constant" in reasons["same"]


def test_codes_are_categories_where_the_user_says_so() -> None:
    learned = learn(*table(), categories=("code",))
    assert learned.schema.levels[learned.schema.names.index("code")] == ("0", "1", "2")


def test_values_and_faults() -> None:
    schema = Schema(("age", "city", "when"), ("number", "category", "date"), ((), ("Oslo", "Rome"), ()))
    rows = [["4", "Rome", "2024-03-01"], ["?", "Paris", ""], ["old", "oslo", "soon"]]
    values, faults = encode(schema, rows)
    assert values.dtype == np.float32 and values.shape == (3, 2 + len(DATE_PARTS))
    assert values[0, 0] == 4 and values[0, 1] == 2 and np.isfinite(values[0]).all()
    assert np.isnan(values[1:, 0]).all() and values[1, 1] == 0 and values[2, 1] == 1
    assert np.isnan(values[1:, 2:]).all()
    assert [(fault.row, fault.why.split(":")[0]) for fault in faults] == [(2, "column age"), (2, "column when")]
    assert values[0, 2] == (datetime(2024, 3, 1) - datetime(1970, 1, 1)).days
    names, levels = schema.inputs()
    assert len(names) == len(levels) == values.shape[1] and names[2] == "when: days"


def test_categories_as_numbers_are_one_however_they_are_written() -> None:
    schema = Schema(("code",), ("category",), (("1", "2"),))
    assert encode(schema, [["1"], ["1.0"], ["2."], ["3"]])[0][:, 0].tolist() == [1, 1, 2, 0]


words = st.text(max_size=12) | st.sampled_from(
    ["1", "2.5", "?", "", "2024-01-01", "1e999", "nan", "-0", "٣", "1/2/2003"]
)


@given(st.lists(st.lists(words, min_size=3, max_size=3), min_size=1, max_size=30))
def test_any_words_have_values(rows: list[list[str]]) -> None:
    learned = learn(["a", "b", "c"], rows)
    values, faults = encode(learned.schema, rows)
    assert values.shape == (len(rows), len(learned.schema.inputs()[0]))
    assert not np.isinf(values).any() and all(0 <= fault.row < len(rows) for fault in faults)
    assert set(learned.schema.names) | set(learned.left_out) == {"a", "b", "c"}
