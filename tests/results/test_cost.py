"""What a run costs, by hand."""

import pytest

from claas.core.errors import InvalidInput
from claas.core.settings import TrainingConfig
from claas.results.settings import EvalConfig, Prices
from claas.results.summary import estimated_cost, update_tokens


def test_every_kind_of_token_has_its_price() -> None:
    tokens = {
        "prompt": 1_000_000,
        "scored": 500_000,
        "update_prefill": 500_000,
        "completion": 100_000,
        "trained": 50_000,
    }
    assert estimated_cost(tokens, Prices(sample=10.0, prefill=1.0, train=20.0)) == pytest.approx(1.0 + 2.0 + 1.0)
    assert estimated_cost({"prompt": 1_000_000, "completion": 0, "scored": 0}, Prices(prefill=3.0)) == pytest.approx(
        3.0
    )


def test_an_update_tells_what_it_read_and_trained() -> None:
    assert update_tokens({"prefill_tokens": 7.0, "trained_tokens": 3.0, "grad_norm": 1.0}) == {
        "update_prefill": 7,
        "trained": 3,
    }
    assert update_tokens({"tokens_processed": 7.0}) == {}, "the local engine is not paid by the token"


@pytest.mark.parametrize("name", ["sample", "prefill", "train"])
def test_a_price_below_zero_is_named(name: str) -> None:
    with pytest.raises(InvalidInput, match=f"prices.{name}"):
        Prices(**{name: -1.0})


def test_what_tinker_cannot_do_is_refused_before_anything_is_started() -> None:
    with pytest.raises(InvalidInput, match="kl_reg_weight"):
        EvalConfig(mode="tinker", training=TrainingConfig(kl_reg_weight=0.5))
