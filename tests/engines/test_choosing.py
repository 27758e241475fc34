"""The laws of choosing a token."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.engines.local.decode import choose

UNIFORM = st.floats(0.0, 1.0, exclude_max=True)
LOGITS = st.lists(st.floats(-20.0, 20.0, width=32), min_size=2, max_size=9)


@settings(deadline=None)
@given(LOGITS, UNIFORM, st.floats(0.1, 3.0), st.floats(0.01, 1.0))
def test_a_row_is_chosen_alike_alone_and_among_others(
    logits: list[float], uniform: float, temperature: float, top_p: float
) -> None:
    row = torch.tensor([logits])
    alone = choose(row, [temperature], [top_p], [uniform], 2)
    others = torch.cat([row, row.flip(0) * 0.5, row, row - 3])
    among = choose(others, [temperature, 0.0, 1.0, 0.7], [top_p, 1.0, 0.5, 1.0], [uniform, 0.1, 0.2, 0.999], 2)
    assert among.tokens[0] == alone.tokens[0]
    assert (among.logprobs[0], among.entropies[0]) == (alone.logprobs[0], alone.entropies[0])
    assert (among.top_ids[0], among.top_logprobs[0]) == (alone.top_ids[0], alone.top_logprobs[0])


@settings(deadline=None)
@given(LOGITS, UNIFORM)
def test_a_token_of_probability_zero_is_never_chosen(logits: list[float], uniform: float) -> None:
    masked = torch.tensor([[*logits, float("-inf")]])
    assert choose(masked, [1.0], [1.0], [uniform]).tokens[0] < len(logits)


@settings(deadline=None)
@given(LOGITS, UNIFORM, st.floats(0.01, 1.0))
def test_the_chosen_token_is_in_the_nucleus(logits: list[float], uniform: float, top_p: float) -> None:
    probabilities = torch.tensor(logits).softmax(-1)
    token = choose(torch.tensor([logits]), [1.0], [top_p], [uniform]).tokens[0]
    likelier = probabilities[probabilities > probabilities[token]].sum().item()
    assert likelier <= top_p + 1e-6


@settings(deadline=None)
@given(LOGITS, UNIFORM, st.floats(0.0, 1e-30), st.floats(0.0, 1e-40, exclude_min=True))
def test_the_coldest_temperature_and_the_narrowest_nucleus_take_the_likeliest(
    logits: list[float], uniform: float, temperature: float, top_p: float
) -> None:
    greedy = choose(torch.tensor([logits]), [0.0], [1.0], [uniform]).tokens
    assert choose(torch.tensor([logits]), [temperature], [1.0], [uniform]).tokens == greedy
    (narrow,) = choose(torch.tensor([logits]), [1.0], [top_p], [uniform]).tokens
    probabilities = torch.tensor(logits).softmax(-1)
    assert probabilities[narrow] == probabilities[greedy[0]]


def test_uniform_numbers_draw_tokens_in_proportion() -> None:
    probabilities = torch.tensor([0.5, 0.25, 0.125, 0.125])
    count = 1000
    uniforms = [(index + 0.5) / count for index in range(count)]
    choices = choose(probabilities.log().expand(count, -1), [1.0] * count, [1.0] * count, uniforms)
    assert [choices.tokens.count(token) for token in range(4)] == [500, 250, 125, 125]


def test_entropy_is_that_of_the_distribution_in_nats() -> None:
    choices = choose(torch.zeros(1, 8), [1.0], [1.0], [0.0])
    assert abs(choices.entropies[0] - torch.tensor(8.0).log().item()) < 1e-6
    assert choose(torch.tensor([[0.0, float("-inf")]]), [0.0], [1.0], [0.0]).entropies == [0.0]
