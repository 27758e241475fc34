"""Rows of the same weights stand side by side, without gaps, and few of them move."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from claas.engines.local.decode import arrange

GROUPS = st.tuples(st.booleans(), st.integers(0, 3))
ROWS = st.lists(st.tuples(GROUPS, st.integers(0, 30)), max_size=16, unique_by=lambda row: row[1])


@settings(deadline=None)
@given(ROWS)
def test_slots_are_dense_and_groups_contiguous(rows: list[tuple[tuple[bool, int], int]]) -> None:
    groups = [group for group, _ in rows]
    slots = arrange(groups, [slot for _, slot in rows])
    assert sorted(slots) == list(range(len(rows)))
    by_slot = [groups[slots.index(slot)] for slot in range(len(rows))]
    changes = sum(left != right for left, right in pairwise(by_slot))
    assert changes == max(0, len(set(groups)) - 1)
    assert [later for later, _ in by_slot] == sorted(later for later, _ in groups)


@settings(deadline=None)
@given(ROWS)
def test_arranging_twice_moves_nothing(rows: list[tuple[tuple[bool, int], int]]) -> None:
    groups = [group for group, _ in rows]
    slots = arrange(groups, [slot for _, slot in rows])
    assert arrange(groups, slots) == slots


def test_one_leaving_row_moves_one_row() -> None:
    staying = [0, 1, 3, 4, 5]
    assert sum(old != new for old, new in zip(staying, arrange([(False, 0)] * 5, staying), strict=True)) == 1
