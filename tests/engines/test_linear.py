"""A row's product is the same bits whatever it is multiplied with, on one thread and on several."""

from collections.abc import Generator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.engines.local.linear import linear

MOST = 24


@pytest.fixture(scope="module", params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Generator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, MOST), first=st.integers(0, MOST - 1), shape=st.sampled_from([(64, 64), (576, 300)]))
def test_a_row_alone_and_among_others_is_the_same_bits(
    threads: int, rows: int, first: int, shape: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(count, shape[0], generator=generator) for count in (2 * MOST, shape[1]))
    bias = torch.randn(shape[1], generator=generator)
    among = linear(x[first : first + rows], weight, bias)
    alone = torch.cat([linear(x[row : row + 1], weight, bias) for row in range(first, first + rows)])
    assert torch.equal(among, alone)
    assert torch.allclose(among, x[first : first + rows] @ weight.T + bias, atol=1e-3)


def test_the_shape_around_the_rows_is_kept() -> None:
    x, weight = torch.randn(3, 1, 7), torch.randn(5, 7)
    assert linear(x, weight).shape == (3, 1, 5)
    assert torch.equal(linear(x, weight).flatten(0, 1), linear(x.flatten(0, 1), weight))
