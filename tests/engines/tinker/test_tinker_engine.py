"""What the Tinker engine asks of the service, and what it makes of the replies."""

import asyncio
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import BadRequest, Conflict, InvalidInput, NotFound, PromptTooLong
from claas.core.settings import TrainingConfig
from claas.engines.base import Engine
from claas.engines.tinker.versions import digest_of
from claas.engines.types import AdapterSpec, SamplingParams, TokenIds, TrainingItem, Update, UpdateRequest
from tests.engines.talk import CONCISE, ask, items, user
from tests.engines.tinker.words import chat, completion_ids
from tests.fakes.tinker_service import FakeTinker, logprobs

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("error::FutureWarning")]

LORA = "eval/concise"
QUICK = TrainingConfig(learning_rate=1e-3, steps_per_batch=2)
PROMPTS = ("What is rain?", "What is snow?")


async def batch(engine: Engine, prompts: Sequence[str] = PROMPTS) -> list[TrainingItem]:
    weights = await engine.resolve(LORA)
    return items([await ask(engine, weights, prompt) for prompt in prompts], prompts)


async def taught(engine: Engine, key: str, training: TrainingConfig = QUICK) -> Update:
    return await engine.update(UpdateRequest(LORA, await batch(engine), training, key))


async def test_an_answer_is_as_the_service_sampled_it(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    base = await engine.resolve(None)
    params = SamplingParams(40, temperature=0.7, top_p=0.9, seed=2**40 + 5)
    sample = await engine.sample(base, user("What is rain?"), params)
    assert sample.text == "Rain is water that falls from clouds."
    assert (sample.finish_reason, list(sample.token_ids)) == ("stop", fake.answer)
    prompt = chat().prompt_ids(user("What is rain?"))
    assert sample.logprobs == pytest.approx(logprobs([*prompt, *fake.answer], 0)[len(prompt) - 1 :])
    [asked] = fake.bodies("asample")
    told = asked["sampling_params"]
    assert (told["temperature"], told["top_p"], told["max_tokens"]) == (0.7, 0.9, 40)
    assert told["seed"] == 5, "folded to the 31 bits that services take"
    assert told["stop"] == sorted(chat().stop_ids)
    assert (sample.mean_entropy, sample.top_logprobs) == (None, ())


async def test_a_stop_string_cuts_tokens_and_text(open_tinker: Any) -> None:
    engine = await open_tinker()
    sample = await ask(engine, await engine.resolve(None), "What is rain?", stop=("falls",))
    assert (sample.text, sample.finish_reason) == ("Rain is water that ", "stop")
    assert "falls" in chat().text(sample.token_ids)
    assert "falls" not in chat().text(sample.token_ids[:-1])
    assert len(sample.token_ids) == len(sample.logprobs) == len(sample.tokens)


async def test_an_answer_cut_by_its_bound_says_so(open_tinker: Any) -> None:
    engine = await open_tinker()
    sample = await ask(engine, await engine.resolve(None), "What is rain?", max_tokens=3)
    assert (sample.finish_reason, len(sample.token_ids)) == ("length", 3)


async def test_the_likeliest_tokens_are_told_where_the_service_tells_them(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    base = await engine.resolve(None)
    assert (await ask(engine, base, "hi", top_logprobs=3)).top_logprobs == ()
    with pytest.raises(BadRequest, match="likeliest tokens"):
        await engine.read(base, TokenIds((5, 6, 7)), top_logprobs=2)
    fake.top_logprobs = True
    sample = await ask(engine, base, "hi", top_logprobs=3)
    assert [[top.logprob for top in row] for row in sample.top_logprobs] == [[-1.0, -2.0, -3.0]] * len(fake.answer)
    reading = await engine.read(base, TokenIds((5, 6, 7)), top_logprobs=2)
    assert reading.logprobs == pytest.approx(logprobs([5, 6, 7], 0))
    assert [[top.token for top in row] for row in reading.top_logprobs] == [list(chat().tokens([0, 1]))] * 2


async def test_continuations_are_read_one_by_one_after_their_prompt(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    base = await engine.resolve(None)
    fake.top_logprobs = True
    scores = await engine.score_continuations(base, TokenIds((5, 6, 7)), [(8,), (9, 10)])
    assert scores[0].logprobs == pytest.approx(logprobs([5, 6, 7, 8], 0)[2:])
    assert scores[1].logprobs == pytest.approx(logprobs([5, 6, 7, 9, 10], 0)[2:])
    assert scores[1].likeliest == tuple(logprob >= -1.0 for logprob in scores[1].logprobs)
    with pytest.raises(InvalidInput, match="continuation 1 has no tokens"):
        await engine.score_continuations(base, TokenIds((5, 6, 7)), [(8,), ()])


async def test_a_score_covers_the_completion_and_its_end(open_tinker: Any) -> None:
    engine = await open_tinker()
    score = await engine.score(await engine.resolve(None), user("What is rain?"), "Water.")
    prompt, completion = chat().prompt_ids(user("What is rain?")), completion_ids("Water.")
    assert (score.prompt_ids, len(score.tokens)) == (tuple(prompt), len(completion))
    assert score.logprobs == pytest.approx(logprobs([*prompt, *completion], 0)[len(prompt) - 1 :])


async def test_what_does_not_fit_the_window_is_not_asked(open_tinker: Any, fake: FakeTinker) -> None:
    fake.window = 24
    engine = await open_tinker()
    assert engine.window == 24
    with pytest.raises(PromptTooLong, match="window of 24 tokens"):
        await ask(engine, await engine.resolve(None), "What is rain? " * 20)
    assert fake.bodies("asample") == []


async def test_the_window_is_the_models_where_the_service_tells_none(open_tinker: Any, fake: FakeTinker) -> None:
    fake.window = None
    assert (await open_tinker()).window == 2048


async def test_an_earlier_version_learns_from_its_own_checkpoint(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA, rank=8))
    taken = await batch(engine)
    await engine.update(UpdateRequest(LORA, taken, QUICK, "first"))
    assert fake.bodies("load_weights") == []
    made = await engine.update(UpdateRequest(LORA, taken, QUICK, "second", from_version=0))
    assert made.weights.version == 2
    (restored,) = fake.bodies("load_weights")
    assert "000000" in restored["path"]


async def test_an_update_trains_on_teacher_less_student(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA, rank=8, seed=3))
    taken = await batch(engine)
    update = await engine.update(UpdateRequest(LORA, taken, QUICK, "key"))
    first, second = fake.bodies("forward_backward")
    assert first["forward_backward_input"]["loss_fn"] == "importance_sampling"
    assert first["forward_backward_input"] == second["forward_backward_input"], (
        "the ratio is to the sampler at each step"
    )
    for item, datum in zip(taken, first["forward_backward_input"]["data"], strict=True):
        whole = [*item.prompt_ids, *item.token_ids]
        assert datum["model_input"]["chunks"] == [{"tokens": whole[:-1]}]
        inputs = {name: value["data"] for name, value in datum["loss_fn_inputs"].items()}
        start = len(item.prompt_ids) - 1
        assert inputs["target_tokens"] == whole[1:]
        assert inputs["logprobs"] == pytest.approx([0.0] * start + list(item.logprobs))
        hint = f"{item.messages[-1]['content']}\n\n=== HINDSIGHT CONTEXT ===\n"
        hint += (
            f"[The following is a future user message. Use this to guide your answer to the user prompt.]\n{CONCISE}"
        )
        teacher_prompt = chat().prompt_ids(user(hint))
        teacher = logprobs([*teacher_prompt, *item.token_ids], 0)[len(teacher_prompt) - 1 :]
        student = logprobs(whole, 0)[start:]
        gained = [update.metrics["kl_gain"] * (a - b) for a, b in zip(teacher, student, strict=True)]
        assert inputs["advantages"] == pytest.approx([0.0] * start + gained, abs=1e-6)
    tokens = sum(len(item.token_ids) for item in taken)
    adam = fake.bodies("optim_step")[0]["adam_params"]
    assert (adam["learning_rate"], adam["beta1"], adam["beta2"], adam["eps"]) == (1e-3, 0.9, 0.999, 1e-8)
    assert adam["grad_clip_norm"] == pytest.approx(tokens), "1.0 for the mean is as many for the sum over tokens"
    assert update.metrics["grad_norm"] == pytest.approx(6.0 / tokens)
    assert update.metrics["steps_per_batch_applied"] == 2
    assert update.metrics["trained_tokens"] == 2 * sum(len(i.prompt_ids) + len(i.token_ids) - 1 for i in taken)
    assert set(update.timing_ms) == {"logprobs", "distill", "save"}


async def test_sft_trains_on_the_answers_as_they_are(open_tinker: Any, fake: FakeTinker) -> None:
    """Nothing is scored for it: cross-entropy of the whole response, at weight 1."""
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA, rank=8, seed=3))
    taken = await batch(engine)
    update = await engine.update(UpdateRequest(LORA, taken, replace(QUICK, objective="sft"), "key"))
    asked = fake.bodies("forward_backward")[0]["forward_backward_input"]
    assert asked["loss_fn"] == "cross_entropy"
    for item, datum in zip(taken, asked["data"], strict=True):
        inputs = {name: value["data"] for name, value in datum["loss_fn_inputs"].items()}
        assert set(inputs) == {"target_tokens", "weights"}
        assert inputs["target_tokens"] == [*item.prompt_ids, *item.token_ids][1:]
        assert inputs["weights"] == [0.0] * (len(item.prompt_ids) - 1) + [1.0] * len(item.token_ids)
    assert update.metrics["prefill_tokens"] == 0
    assert update.metrics["trained_tokens"] == 2 * sum(len(i.prompt_ids) + len(i.token_ids) - 1 for i in taken)


async def test_all_steps_are_submitted_before_any_is_waited_for(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA))
    taken = await batch(engine)
    fake.delay_s = 0.5
    await engine.update(UpdateRequest(LORA, taken, QUICK, "key"))
    training = [span for span in fake.spans if span[0] in ("forward_backward", "optim_step")]
    assert len(training) == 4
    assert max(begun for _, begun, _ in training) < min(done for _, _, done in training)
    steps = ["forward_backward", "optim_step"] * 2
    assert [path for path in fake.paths() if path in steps] == steps


async def test_versions_are_pinned_and_adapters_apart(open_tinker: Any) -> None:
    engine = await open_tinker()
    start = await engine.init_adapter(AdapterSpec(LORA))
    other = await engine.init_adapter(AdapterSpec("eval/other"))

    async def total(weights: Any) -> float:
        return sum((await engine.score(weights, user("hi"), "Hello.")).logprobs)

    before = await total(start)
    update = await taught(engine, "key")
    assert (update.weights.version, update.weights.name) == (1, "eval-concise@1")
    assert await total(update.weights) != before
    assert await total(start) == await total(other) == before
    assert (await engine.resolve(LORA)) == update.weights
    assert [weights.name for weights in await engine.list_adapters()] == ["eval-concise@1", "eval-other@0"]


async def test_the_digest_is_that_of_the_checkpoint(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    weights = await engine.init_adapter(AdapterSpec(LORA))
    [sampler] = [path for path in fake.checkpoints if "/sampler_weights/" in path]
    assert weights.digest == digest_of(sampler)


async def test_an_adapter_made_again_before_it_was_trained_costs_nothing(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    made = await engine.init_adapter(AdapterSpec(LORA, seed=3))
    checkpoints = list(fake.checkpoints)
    assert await (await open_tinker()).init_adapter(AdapterSpec(LORA, seed=3)) == made
    assert list(fake.checkpoints) == checkpoints
    for other in (AdapterSpec(LORA, seed=4), AdapterSpec(LORA, rank=8, seed=3)):
        with pytest.raises(Conflict, match="exists already"):
            await engine.init_adapter(other)


async def test_a_key_trains_once_even_after_a_restart(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA))
    taken = await batch(engine)
    update = await engine.update(UpdateRequest(LORA, taken, QUICK, "key"))
    trained = len(fake.bodies("forward_backward"))
    for again in (engine, await open_tinker()):
        replay = await again.update(UpdateRequest(LORA, taken, QUICK, "key"))
        assert replay == Update(update.weights, update.metrics, update.timing_ms, replayed=True)
    assert len(fake.bodies("forward_backward")) == trained


async def test_a_restart_continues_with_the_optimiser(open_tinker: Any, fake: FakeTinker) -> None:
    first = await open_tinker()
    await first.init_adapter(AdapterSpec(LORA))
    await taught(first, "one")
    second = await open_tinker()
    update = await taught(second, "two")
    assert update.weights.version == 2
    [restored] = fake.bodies("load_weights")
    assert restored["optimizer"] is True
    assert "/weights/" in restored["path"]
    assert "-000001-" in restored["path"]


async def test_old_versions_are_given_up_where_only_the_last_are_kept(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker(keep_last=True)
    await engine.init_adapter(AdapterSpec(LORA))
    updates = [await taught(engine, key) for key in ("one", "two", "three")]
    assert len(fake.checkpoints) == 4, "those of the newest version and of the one before it"
    assert await engine.resolve(LORA, 2) == updates[1].weights
    for version in (0, 1):
        with pytest.raises(NotFound, match="keep_versions"):
            await engine.resolve(LORA, version)
    replay = await engine.update(UpdateRequest(LORA, [], QUICK, "one"))
    assert (replay.replayed, replay.weights) == (True, updates[0].weights), "its receipt stays"


async def test_deleting_deletes_at_the_service(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    weights = await engine.init_adapter(AdapterSpec(LORA))
    await taught(engine, "key")
    assert len(fake.checkpoints) == 4
    assert await engine.delete_adapter(LORA) is True
    assert fake.checkpoints == {}
    assert await engine.delete_adapter(LORA) is False
    again = await engine.init_adapter(AdapterSpec(LORA))
    assert again.digest != weights.digest
    with pytest.raises(Conflict, match="no longer what it was"):
        await ask(engine, weights, "hi")


async def test_an_export_is_what_peft_loads(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA))
    directory: Path = await engine.export_adapter(LORA)
    assert set(os.listdir(directory)) == {"adapter_config.json", "adapter_model.safetensors"}
    config = json.loads((directory / "adapter_config.json").read_text())
    assert config == {"r": 8, "target_modules": ["q_proj", "up"]}, "those of the weights, which the service left out"
    assert (directory / "adapter_model.safetensors").read_bytes() == fake.exported["adapter_model.safetensors"]
    assert not any("/external_weights/" in path for path in fake.checkpoints), "storage is paid for"
    asked = len(fake.asked)
    assert await engine.export_adapter(LORA) == directory
    assert len([path for path in fake.paths()[asked:] if "external" in path]) == 0


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (AdapterSpec(LORA, alpha=64), "lora_alpha"),
        (AdapterSpec(LORA, target_modules=("q_proj",)), "target_modules"),
        (AdapterSpec("../up"), "invalid adapter id"),
    ],
    ids=["alpha", "modules", "id"],
)
async def test_a_shape_that_the_service_has_not_is_refused(
    open_tinker: Any, fake: FakeTinker, spec: AdapterSpec, said: str
) -> None:
    engine = await open_tinker()
    with pytest.raises(InvalidInput, match=said):
        await engine.init_adapter(spec)
    assert fake.runs == {}


async def test_files_of_others_are_not_taken(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    with pytest.raises(InvalidInput, match="a checkpoint of the service is imported, by its path"):
        await engine.import_adapter("mine", {"peft_type": "LORA"}, b"")
    assert await engine.list_adapters() == []


async def test_a_checkpoint_of_others_is_taught_on_and_left_as_it_is(open_tinker: Any, fake: FakeTinker) -> None:
    theirs = "tinker://run-of-theirs/weights/final"
    fake.checkpoints[theirs] = 5
    engine = await open_tinker()
    mine = await engine.import_checkpoint(LORA, theirs)
    assert (mine.lora_id, mine.version) == (LORA, 0)
    score = await engine.score(mine, user("What is rain?"), "Water.")
    prompt = chat().prompt_ids(user("What is rain?"))
    assert score.logprobs == pytest.approx(logprobs([*prompt, *completion_ids("Water.")], 5)[len(prompt) - 1 :])
    assert (await engine.update(UpdateRequest(LORA, await batch(engine), QUICK, "key"))).weights.version == 1
    asked = len(fake.asked)
    for again in (engine, await open_tinker()):
        assert await again.import_checkpoint(LORA, theirs) == mine
    assert "load_weights" not in [path for path, _ in fake.asked[asked:]]
    with pytest.raises(Conflict, match="exists already"):
        await engine.import_checkpoint(LORA, "tinker://another/weights/final")
    await engine.delete_adapter(LORA)
    assert fake.checkpoints == {theirs: 5}


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("tinker://run/sampler_weights/final", InvalidInput, "is no training state"),
        ("/etc/passwd", InvalidInput, "is no training state"),
        ("tinker://other/weights/final", InvalidInput, "not LoRA of 'claas-tiny'"),
        ("tinker://run/weights/gone", NotFound, "has not what reading a checkpoint needs"),
    ],
)
async def test_a_checkpoint_that_cannot_be_taught_is_refused(
    open_tinker: Any, fake: FakeTinker, path: str, kind: type[Exception], said: str
) -> None:
    fake.checkpoints["tinker://other/weights/final"] = 0
    engine = await open_tinker()
    with pytest.raises(kind, match=said):
        await engine.import_checkpoint(LORA, path)
    assert await engine.list_adapters() == []
    assert fake.runs == {}


async def test_a_regulariser_that_cannot_be_had_is_refused(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    await engine.init_adapter(AdapterSpec(LORA))
    with pytest.raises(InvalidInput, match=r"training.kl_reg_weight=0.1 is not possible with mode=tinker"):
        await taught(engine, "key", TrainingConfig(kl_reg_weight=0.1))
    assert fake.bodies("forward_backward") == []


async def test_requests_of_a_phase_are_in_flight_together(open_tinker: Any, fake: FakeTinker) -> None:
    engine = await open_tinker()
    base = await engine.resolve(None)
    fake.delay_s = 0.3
    asked = [ask(engine, base, f"What is {thing}?") for thing in ("rain", "snow", "ice", "fog", "hail", "dew")]
    started = asyncio.get_running_loop().time()
    await asyncio.gather(*asked)
    assert fake.most_in_flight == 6
    assert asyncio.get_running_loop().time() - started < 6 * 0.3


async def test_nothing_warns_of_an_sdk_that_changes(open_tinker: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = await open_tinker()
        await engine.init_adapter(AdapterSpec(LORA))
        await taught(engine, "key")
        assert (await engine.health()).ok
