"""A row's product is the same bits whatever it is multiplied with, on one thread and on several."""

from collections.abc import Generator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.engines.local.linear import compiled_rows, linear, linear_op

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


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 3 * MOST), shape=st.sampled_from([(64, 40), (1100, 30)]))
def test_a_row_of_packed_weights_is_the_same_bits_alone_and_among_others(rows: int, shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(count, shape[0], generator=generator) for count in (3 * MOST, shape[1]))
    multiply = linear_op(weight, None, pack=True)
    among = multiply(x[None, :rows])
    assert among.shape == (1, rows, shape[1])
    assert torch.equal(among[0], torch.cat([multiply(x[row : row + 1]) for row in range(rows)]))


def test_few_numbers_of_rows_are_compiled_for_and_little_is_computed_in_vain() -> None:
    assert [compiled_rows(rows) for rows in (1, 3, 4, 5, 9, 64, 65, 130, 1000)] == [1, 3, 4, 8, 12, 64, 72, 144, 1024]
    assert len({compiled_rows(rows) for rows in range(1, 1025)}) == 51
    assert all(rows <= compiled_rows(rows) <= 1.15 * rows for rows in range(18, 1025))
    assert all(compiled_rows(compiled_rows(rows)) == compiled_rows(rows) for rows in range(1, 1025))
