"""Columns of numbers as bits: read back as they were, in as few bits as promised."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.cluster.columns import ColumnReader, ColumnWriter, CutShort

_COLUMNS = st.lists(st.lists(st.integers(0, 2**62 - 1) | st.integers(0, 300), max_size=12))


def _written(*columns: list[int]) -> bytes:
    writer = ColumnWriter()
    for column in columns:
        writer.column(column)
    return writer.finish()


@given(_COLUMNS)
def test_columns_are_read_back_as_they_were(columns: list[list[int]]) -> None:
    """Any numbers, columns without any included."""
    reader = ColumnReader(_written(*columns))
    assert [reader.column(len(column)) for column in columns] == columns


def test_recorded_bits_stay_as_they_are() -> None:
    """Equal values, small ones, and one that is far from all others."""
    columns = [7, 7, 7], [0, 1, 0, 2], [5, 6, 4_000], [0]
    assert _written(*columns).hex() == "fc3e00098a0e800003dcdfe000"


def test_gaps_of_a_random_choice_take_hardly_more_than_they_must() -> None:
    """100 of 100,000 are one of 10^342 choices: 1,136 bits; a Rice code needs some 3 % more."""
    dice = random.Random(1)
    for _ in range(10):
        chosen = sorted(dice.sample(range(100_000), 100))
        gaps = [b - a for a, b in zip([0, *chosen], chosen, strict=False)]
        assert len(_written(gaps)) < 1.06 * 1_136 / 8


def test_one_far_value_does_not_make_a_column_long() -> None:
    """A partition with an epoch of 2^61 among others costs each of them its bits, no more."""
    assert len(_written([1] * 99 + [2**61])) < 100 * 8


@given(st.binary(max_size=40), st.lists(st.integers(0, 50), max_size=5))
def test_other_bytes_are_cut_short_or_read(data: bytes, counts: list[int]) -> None:
    """They raise nothing else, and take no time that their length does not bound."""
    reader = ColumnReader(data)
    try:
        for count in counts:
            assert len(reader.column(count)) == count
    except CutShort:
        pass


@pytest.mark.parametrize("size", range(len(_written([3, 9, 200]))))
def test_a_piece_of_a_column_is_none(size: int) -> None:
    """Wherever it was cut."""
    with pytest.raises(CutShort):
        ColumnReader(_written([3, 9, 200])[:size]).column(3)
