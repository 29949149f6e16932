from __future__ import annotations

import math

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetalign.ingest.numbers import to_float64


def convert(*cells: object) -> tuple[list, list[bool]]:
    values, bad = to_float64(pa.chunked_array([list(cells)]))
    assert values.type == pa.float64()
    return values.to_pylist(), bad.tolist()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("+2", 2.0),
        (" 7 ", 7.0),
        ("5.", 5.0),
        (".5", 0.5),
        ("-1e-3", -1e-3),
        ("5.e3", 5000.0),
        ("Inf", math.inf),
    ],
)
def test_texts_that_are_numbers(text: str, number: float) -> None:
    assert convert(text) == ([number], [False])


@pytest.mark.parametrize("text", ["", " ", "NaN", "null", "None", "n/a", None])
def test_texts_that_mean_missing(text: str | None) -> None:
    assert convert("1", text) == ([1.0, None], [False, False])


@pytest.mark.parametrize("text", ["x", "1,5", "0x10", "1 2", "--1", "1e", "e5", ".", "ok"])
def test_texts_that_are_no_number(text: str) -> None:
    assert convert("1", text) == ([1.0, None], [False, True])


def test_types_other_than_text() -> None:
    assert convert(1, None, 2**60) == ([1.0, None, float(2**60)], [False] * 3)
    assert convert(True, False, None) == ([1.0, 0.0, None], [False] * 3)
    assert convert(None, None) == ([None, None], [False] * 2)


@given(st.lists(st.floats(allow_nan=False)))
def test_every_float_survives_its_text(numbers: list[float]) -> None:
    values, bad = to_float64(pa.chunked_array([[repr(n) for n in numbers]], pa.string()))
    assert values.to_pylist() == numbers
    assert not bad.any()
