"""Runs drawn from the recorded example: its own items, as many of each kind, and what they come to."""

import random

import pytest

from benchmarks.drawn import EXAMPLE, Example, measured
from claas.results.summary import read
from claas.results.verdict import judge


def test_every_recorded_item_once_comes_to_what_was_recorded() -> None:
    example = Example.read()
    every = {kind: example.named(kind, items) for kind, items in example.items.items()}
    found = judge(example.history(measured(every, lambda _: 0), measured(every, lambda _: 3)), {}).criteria
    recorded = read(EXAMPLE).preferences["concise"].criteria
    assert {name: (each.n, each.value) for name, each in found.items()} == {
        name: (each.n, pytest.approx(each.value)) for name, each in recorded.items()
    }


def test_a_draw_is_of_as_many_items_each_under_its_own_name_and_follows_the_seed() -> None:
    example = Example.read()
    drawn, again, other = (example.drawn(random.Random(seed)) for seed in (1, 1, 2))
    assert drawn == again != other
    for kind, items in drawn.items():
        names = {tuple(transcript.item for transcript in item[0]) for item in items}
        assert len(items) == len(names) == len(example.items[kind])
