"""Base models by the service's own names."""

from typing import Any

import pytest

from claas.core.errors import InvalidInput
from claas.core.settings import default_base_model
from claas.engines.tinker.names import ServedModel, require_served
from tests.fakes.tinker_service import FakeTinker

LISTED = [
    ServedModel(name, 32768, trainable, sampleable)
    for name, trainable, sampleable in [
        ("Qwen/Qwen3.6-35B-A3B", True, True),
        ("Qwen/Qwen3.6-27B", True, True),
        ("Qwen/Qwen3-8B", True, True),
        ("meta-llama/Llama-3.2-1B", True, True),
        ("moonshotai/Kimi-K2.5", False, True),
        ("openai/gpt-oss-20b", True, False),
    ]
]


def test_a_listed_model_is_found() -> None:
    assert require_served("Qwen/Qwen3-8B", LISTED) == LISTED[2]
    assert require_served(default_base_model("tinker"), LISTED) == LISTED[0]


@pytest.mark.parametrize(
    ("name", "said", "nearest"),
    [
        ("Qwen/Qwen3-30B-A3B", "was retired by Tinker on 2026-06-12 in favour of 'Qwen/Qwen3.6-35B-A3B'", LISTED[0]),
        ("meta-llama/Llama-3.2-1B-Instruct", "is not a model that this Tinker service lists", LISTED[3]),
        ("qwen3-8b", "is not a model that this Tinker service lists", LISTED[2]),
        ("moonshotai/Kimi-K2.5", "cannot be trained", None),
        ("openai/gpt-oss-20b", "cannot be sampled", None),
    ],
)
def test_any_other_is_refused_with_the_nearest(name: str, said: str, nearest: ServedModel | None) -> None:
    with pytest.raises(InvalidInput) as raised:
        require_served(name, LISTED)
    line = str(raised.value)
    assert said in line
    assert "\n" not in line
    if nearest is not None:
        assert f"nearest of the 4 it lists: {nearest.name}," in line


def test_a_service_without_models_is_said() -> None:
    with pytest.raises(InvalidInput, match="lists none"):
        require_served("Qwen/Qwen3-8B", [])


@pytest.mark.anyio
async def test_nothing_is_made_for_an_unknown_name(open_tinker: Any, fake: FakeTinker) -> None:
    with pytest.raises(InvalidInput, match="not a model that this Tinker service lists"):
        await open_tinker("Qwen/Qwen3.6-35B")
    assert fake.bodies("create_session") == []
