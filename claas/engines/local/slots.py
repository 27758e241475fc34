"""Which slot each row is decoded in: rows of the same weights side by side, no gaps, few rows moved."""

from collections.abc import Hashable, Sequence


def arrange(groups: Sequence[Hashable], slots: Sequence[int]) -> list[int]:
    """New slots 0..n-1 for n rows, given each row's group and its present slot.

    Rows of a group get neighbouring slots, groups in the order of their first rows; a row that already stands among
    its group's slots stays there.
    """
    order = sorted(range(len(slots)), key=lambda row: slots[row])
    members: dict[Hashable, list[int]] = {}
    for row in order:
        members.setdefault(groups[row], []).append(row)
    arranged = [0] * len(slots)
    start = 0
    for rows in members.values():
        region = range(start, start + len(rows))
        free = sorted(set(region) - {slots[row] for row in rows}, reverse=True)
        for row in rows:
            arranged[row] = slots[row] if slots[row] in region else free.pop()
        start += len(rows)
    return arranged
