"""Recorded answers: found by what a person saw, bounded, and there after a restart."""

import json
from pathlib import Path

import pytest

from claas.wire.feedback import Rollout, Sampling
from tests.api.client import LORA, NAME, Api, error, item, ok, running, serving, settings
from tests.fakes.engine import BASE_MODEL, END_OF_TURN, FakeEngine, prompt_ids, token_id

pytestmark = pytest.mark.anyio


async def resolve(api: Api, text: str) -> Rollout:
    return Rollout.model_validate(ok(await api.http.post("/v1/rollouts/resolve", json={"text": text})))


async def test_a_recorded_answer_is_found_by_what_a_person_saw(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: "<think>let me see</think>\n Two  words"
    async with serving(tmp_path, engine) as api:
        choice = await api.said("Hi")
        found = [await resolve(api, text) for text in ("Two words", " Two\n words ", choice.message.content)]
        error(await api.http.post("/v1/rollouts/resolve", json={"text": "Three words"}), 404)
    rollout = found[0]
    assert found == [rollout] * 3
    assert (rollout.id, rollout.content) == (choice.rollout_id, choice.message.content)
    assert rollout.text == "<think>let me see</think>\n Two  words"
    assert (rollout.model, rollout.lora_id, rollout.version) == ("eval-concise@0", LORA, 0)
    assert rollout.digest == engine.adapters[LORA][0].digest
    words = rollout.text.split(" ")
    assert rollout.token_ids == [*(token_id(word) for word in words), END_OF_TURN]
    assert rollout.logprobs == [*(-0.1 * (i + 1) for i in range(len(words))), -0.01]
    assert rollout.prompt_ids == list(prompt_ids(rollout.messages))
    assert rollout.mean_entropy == 1.25
    assert rollout.sampling == Sampling(temperature=1.0, top_p=1.0, seed=None, max_tokens=512)


async def test_how_each_choice_was_sampled_is_on_record(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        reply = await api.chat("Hi", n=2, seed=5, temperature=0.5, top_p=0.9, max_tokens=7)
        found = [(await resolve(api, choice.message.content)).sampling for choice in reply.choices]
    assert found == [Sampling(temperature=0.5, top_p=0.9, seed=seed, max_tokens=7) for seed in (5, 6)]


async def test_of_two_answers_that_read_alike_the_latest_is_found(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: "Yes."
    async with serving(tmp_path, engine) as api:
        await api.chat("First?")
        latest = await api.said("Second?", model=BASE_MODEL)
        assert (await resolve(api, "Yes.")).id == latest.rollout_id


async def test_which_of_several_answers_is_meant_can_be_told(tmp_path: Path, engine: FakeEngine) -> None:
    engine.script = lambda *_: "Yes."
    async with serving(tmp_path, engine) as api:
        said = {
            (prompt, model): (await api.said(prompt, model=model)).rollout_id
            for prompt in ("First?", "Is it the second?", "[Fri 21:58] the second?", "Second?")
            for model in (NAME, BASE_MODEL)
        }

        async def found(**asked: str) -> str:
            return Rollout.model_validate(
                ok(await api.http.post("/v1/rollouts/resolve", json={"text": "Yes.", **asked}))
            ).id

        base = BASE_MODEL
        assert await found(prompt="First?", model=f"{NAME}@0") == said["First?", NAME]
        assert await found(prompt="First?") == said["First?", base]
        assert await found(model=f"{NAME}@0") == said["Second?", NAME]
        assert await found(prompt=" Is  it the second?", model=base) == said["Is it the second?", base]
        assert await found(prompt="the second?", model=f"{NAME}@0") == said["[Fri 21:58] the second?", NAME]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": f"{NAME}@7"}, "not shown by eval-concise@7, but by eval-concise@0 to 'First?'"),
        ({"prompt": "Third?"}, "not shown to this prompt, but by eval-concise@0 to 'First?'"),
        ({"prompt": "First?", "model": BASE_MODEL}, "not shown to this prompt and by fake-base, but by eval-concise@0"),
    ],
    ids=["model", "prompt", "both"],
)
async def test_an_answer_that_was_another_is_told_by_what_it_was(
    tmp_path: Path, engine: FakeEngine, asked: dict[str, str], said: str
) -> None:
    engine.script = lambda *_: "Yes."
    async with serving(tmp_path, engine) as api:
        await api.chat("First?")
        assert said in error(await api.http.post("/v1/rollouts/resolve", json={"text": "Yes.", **asked}), 404)


async def test_answers_recorded_before_sampling_was_are_still_found(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        await api.chat("Hi")
    file = tmp_path / "store" / "rollouts.jsonl"
    old = json.loads(file.read_text())
    del old["sampling"]
    file.write_text(json.dumps(old) + "\n")
    async with serving(tmp_path, engine) as api:
        assert (await resolve(api, old["text"])).sampling is None


async def test_answers_survive_a_restart_and_a_torn_line(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine) as api:
        before = [await resolve(api, (await api.said(f"Question {i}")).message.content) for i in range(3)]
    file = tmp_path / "store" / "rollouts.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"id": "rollout-torn", "crea')
    async with serving(tmp_path, engine) as api:
        assert [await resolve(api, rollout.text) for rollout in before] == before
        await api.feedback(item("Question 0", await api.said("Question 0"), rollout_id=before[0].id))
        after = await api.said("Question 3")
    async with serving(tmp_path, engine) as api:
        assert (await resolve(api, after.message.content)).id == after.rollout_id
    assert b"rollout-torn" not in file.read_bytes()


async def test_a_killed_process_has_lost_no_answer_it_gave(tmp_path: Path, engine: FakeEngine) -> None:
    async with running(engine, settings(tmp_path)) as api:
        await api.init()
        choice = await api.said("Hi")
        async with running(engine, settings(tmp_path)) as second:  # the first was never closed
            assert (await resolve(second, choice.message.content)).id == choice.rollout_id


async def test_only_the_newest_answers_are_kept(tmp_path: Path, engine: FakeEngine) -> None:
    async with serving(tmp_path, engine, rollout_capacity=5) as api:
        texts = [(await api.said(f"Question {i}")).message.content for i in range(23)]
        for text in texts[:-5]:
            error(await api.http.post("/v1/rollouts/resolve", json={"text": text}), 404)
        kept = [await resolve(api, text) for text in texts[-5:]]
    lines = (tmp_path / "store" / "rollouts.jsonl").read_text().splitlines()
    assert 5 <= len(lines) < 10
    async with serving(tmp_path, engine, rollout_capacity=2) as api:
        assert [await resolve(api, text) for text in texts[-2:]] == kept[-2:]
        error(await api.http.post("/v1/rollouts/resolve", json={"text": texts[-3]}), 404)


NO_ROLLOUTS: dict[str, tuple[str, str]] = {
    "from another program": ('"id":', '"number":'),
    "a turn without a role": ('"role":"user"', '"by":"user"'),
    "a number of 5000 digits": ('"version":0', f'"version":{"9" * 5000}'),
    "half of a character": ('"text":"', r'"text":"\ud800'),
}


@pytest.mark.parametrize(("old", "new"), NO_ROLLOUTS.values(), ids=NO_ROLLOUTS.keys())
async def test_a_line_that_is_no_rollout_is_set_aside_and_the_others_serve(
    tmp_path: Path, engine: FakeEngine, old: str, new: str
) -> None:
    file = tmp_path / "store" / "rollouts.jsonl"
    async with serving(tmp_path, engine) as api:
        said = [await api.said(f"Question {i}") for i in range(3)]
    first, second, third = file.read_text().splitlines()
    bad = second.replace(old, new)
    file.write_text(f"{first}\n{bad}\n{third}\n")
    async with serving(tmp_path, engine) as api:
        for kept in (said[0], said[2]):
            assert (await resolve(api, kept.message.content)).id == kept.rollout_id
        error(await api.http.post("/v1/rollouts/resolve", json={"text": said[1].message.content}), 404)
    assert file.with_name("rollouts.jsonl.bad").read_text() == f"{bad}\n"
