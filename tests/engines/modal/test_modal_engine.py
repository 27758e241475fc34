"""The Modal engine gives what the local engine gives, through a real crossing, and keeps it on the volume."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import BadRequest, ClaasError, Conflict, InvalidInput, NotFound, PromptTooLong, StackError
from claas.core.settings import TrainingConfig
from claas.engines.base import Engine
from claas.engines.types import (
    AdapterSpec,
    Piece,
    Sample,
    SamplingParams,
    TokenIds,
    TrainingItem,
    UpdateRequest,
    Weights,
)

pytestmark = pytest.mark.anyio

LORA = "me/words"
TURN = ({"role": "user", "content": "Tell me about rain."},)
GREEDY = SamplingParams(24, temperature=0.0, seed=1)
Opened = Callable[..., Awaitable[Any]]


def item(sample: Sample) -> TrainingItem:
    return TrainingItem(TURN, sample.prompt_ids, sample.token_ids, sample.logprobs, "Be more concise.")


def training() -> TrainingConfig:
    return TrainingConfig(learning_rate=1e-3, steps_per_batch=1)


async def trained(engine: Engine, key: str = "first") -> tuple[Weights, Any]:
    """A new adapter and the receipt of an update of it."""
    made = await engine.init_adapter(AdapterSpec(LORA, rank=8, seed=3))
    sample = await engine.sample(made, TURN, GREEDY)
    return made, await engine.update(UpdateRequest(LORA, [item(sample)], training(), key))


async def everything(engine: Engine) -> list[object]:
    """What each method of the protocol returns, but for what depends on the clock."""
    made, update = await trained(engine)
    newest = await engine.resolve(LORA)
    words = await engine.encode("Rain is water.")
    settings = [
        replace(GREEDY, top_logprobs=3),
        SamplingParams(24, temperature=0.9, seed=5, top_p=0.9),
        SamplingParams(24, temperature=0.9, seed=6, stop=(" the",)),
    ]
    samples = await asyncio.gather(*(engine.sample(newest, TURN, chosen) for chosen in settings))
    exported = await engine.export_adapter(LORA, 1)
    config = json.loads((exported / "adapter_config.json").read_text())
    return [
        engine.base_model,
        engine.window,
        made,
        replace(update, timing_ms={}),
        newest,
        await engine.resolve(None),
        await engine.resolve(LORA, 0),
        words,
        await engine.encode(TURN),
        await engine.decode(words),
        await engine.encode("Rain", False),
        await engine.tokenizer_info(),
        samples,
        await engine.sample(newest, words, GREEDY),
        await engine.score(newest, TURN, "Rain falls from clouds."),
        await engine.read(newest, words, 2),
        await engine.score_continuations(newest, words, [(5, 6), (7,)]),
        await engine.list_adapters("me/"),
        {path.name: path.read_bytes() for path in exported.glob("adapter*")},
        await engine.import_adapter("copy", config, (exported / "adapter_model.safetensors").read_bytes()),
        await engine.delete_adapter(LORA),
        await engine.delete_adapter(LORA),
        await engine.list_adapters(),
    ]


async def test_every_call_gives_what_the_local_engine_gives(open_modal: Opened, engine: Any) -> None:
    assert await everything(await open_modal()) == await everything(engine)


async def test_requests_are_in_the_app_together_and_answers_come_whole(fake: Any, open_modal: Opened) -> None:
    engine = await open_modal()
    base, pieces = await engine.resolve(None), list[Piece]()
    answers = await asyncio.gather(*(engine.sample(base, TURN, GREEDY, pieces.append) for _ in range(16)))
    assert fake.most_at_once == 16
    assert len(set(answers)) == 1
    assert pieces == []


@pytest.mark.parametrize(
    ("kind", "call"),
    [
        (NotFound, lambda engine: engine.resolve("me/nobody")),
        (InvalidInput, lambda engine: engine.resolve("../secret")),
        (Conflict, lambda engine: engine.init_adapter(AdapterSpec("me-words"))),
        (PromptTooLong, lambda engine: engine.read(Weights(None, 0, "", "claas-tiny"), TokenIds((5,) * 3000))),
        (BadRequest, lambda engine: engine.sample(Weights(None, 0, "", "claas-tiny"), TokenIds(()), GREEDY)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_an_error_arrives_as_itself(
    open_modal: Opened, engine: Any, kind: type[ClaasError], call: Callable[[Engine], Awaitable[object]]
) -> None:
    said: list[str] = []
    for each in (engine, await open_modal()):
        await each.init_adapter(AdapterSpec(LORA, rank=8))
        with pytest.raises(kind) as caught:
            await call(each)
        assert type(caught.value) is kind
        said.append(str(caught.value))
    assert said[0] == said[1]


async def test_what_was_made_is_on_the_volume_and_an_update_is_never_made_twice(fake: Any, open_modal: Opened) -> None:
    engine = await open_modal()
    _, update = await trained(engine)
    assert fake.commits == 2, "version 0 and version 1"
    await fake.stop()
    again = await open_modal()
    assert await again.resolve(LORA) == update.weights
    sample = await again.sample(await again.resolve(LORA, 0), TURN, GREEDY)
    assert await again.update(UpdateRequest(LORA, [item(sample)], training(), "first")) == replace(
        update, replayed=True
    )
    assert fake.commits == 2
    assert await again.delete_adapter(LORA)
    assert fake.commits == 3
    await fake.stop()
    assert await (await open_modal()).list_adapters() == []


async def test_a_commit_that_modal_refuses_is_tried_again(fake: Any, open_modal: Opened) -> None:
    engine = await open_modal()
    fake.refused_commits = 2
    assert (await engine.init_adapter(AdapterSpec(LORA, rank=8))).version == 0
    assert fake.commits == 1


async def test_an_export_is_what_its_digest_says(fake: Any, open_modal: Opened, tmp_path: Path) -> None:
    engine = await open_modal()
    await engine.init_adapter(AdapterSpec(LORA, rank=8))
    directory = await engine.export_adapter(LORA)
    assert {path.name for path in directory.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    asked = len(fake.asked)
    assert await engine.export_adapter(LORA) == directory
    assert fake.asked[asked:] == ["resolve"], "downloaded once"
    (stored,) = (tmp_path / "volume").rglob("adapter_model.safetensors")
    stored.write_bytes(b"")
    shutil.rmtree(directory)
    with pytest.raises(StackError, match="me-words@0 came from Modal damaged; export it again"):
        await engine.export_adapter(LORA)
