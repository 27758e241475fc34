"""The vLLM engine against vLLM itself on a CPU, whose answers and scores are to be those of the local engine.

sh configs/vllm/install.sh .cache/vllm && python -m pytest -m vllm        (or: make vllm)
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import claas
from claas.core.errors import InvalidInput, StackError
from claas.core.settings import EMBEDDED, TrainingConfig
from claas.engines.types import AdapterSpec, Sample, TokenIds, UpdateRequest, Weights
from tests.engines.talk import PROMPTS, ask, items, teach, user

PROGRAM = Path(
    os.environ.get("CLAAS_VLLM_COMMAND", Path(claas.__file__).parents[1] / ".cache" / "vllm" / "bin" / "vllm")
)

pytestmark = [pytest.mark.vllm, pytest.mark.anyio]

if not PROGRAM.exists():
    pytest.skip(f"no vLLM at {PROGRAM}; install it with: make vllm", allow_module_level=True)

LORA = "eval/concise"
UPDATES = 3


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def vllm(store: Path) -> Any:
    """The engine, with a server of its own."""
    from claas.api.config import ApiConfig
    from claas.engines.vllm.engine import VllmEngine

    return VllmEngine.open(ApiConfig(mode="vllm", vllm_command=str(PROGRAM), store_dir=str(store)))


@pytest.fixture(scope="module")
async def versions(vllm: Any) -> AsyncIterator[list[Weights]]:
    """The base model, and an adapter's versions, trained on vLLM's own answers."""
    await vllm.init_adapter(AdapterSpec(LORA))
    for step in range(UPDATES):
        await teach(vllm, LORA, f"update {step}", learning_rate=2e-3)
    yield [await vllm.resolve(None), *[await vllm.resolve(LORA, number) for number in range(UPDATES + 1)]]
    await vllm.close()


@pytest.fixture(scope="module")
async def local(store: Path, versions: list[Weights]) -> AsyncIterator[Any]:
    """The local engine on the same store, which has the same versions."""
    from claas.engines.local.engine import LocalEngine

    engine = LocalEngine.open(EMBEDDED, store / "adapters")
    yield engine
    await engine.close()


async def both(vllm: Any, local: Any, versions: Sequence[Weights], **asked: Any) -> list[tuple[Sample, Sample]]:
    """What both say to every prompt with all weights at once."""

    async def one(weights: Weights, prompt: str) -> tuple[Sample, Sample]:
        return await asyncio.gather(*(ask(each, weights, prompt, 40, **asked) for each in (vllm, local)))

    return await asyncio.gather(*(one(weights, prompt) for weights in versions for prompt in PROMPTS))


@pytest.mark.parametrize("asked", [{}, {"stop": (" the", "1")}, {"top_logprobs": 20}], ids=["plain", "stop", "top"])
async def test_greedy_answers_are_those_of_the_local_engine(
    vllm: Any, local: Any, versions: list[Weights], asked: dict[str, Any]
) -> None:
    pairs = await both(vllm, local, versions, **asked)
    for ours, theirs in pairs:
        assert (ours.weights, ours.token_ids, ours.text) == (theirs.weights, theirs.token_ids, theirs.text)
        assert (ours.finish_reason, ours.prompt_ids) == (theirs.finish_reason, theirs.prompt_ids)
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        for one, other in zip(ours.top_logprobs, theirs.top_logprobs, strict=True):
            assert [top.logprob for top in one] == pytest.approx([top.logprob for top in other], abs=1e-4)
    assert len({ours.text for ours, _ in pairs}) > len(PROMPTS)  # versions differ


async def test_a_sampled_answer_is_decided_by_its_seed_and_scored_as_the_local_engine_does(
    vllm: Any, local: Any, versions: list[Weights]
) -> None:
    for weights in versions:
        samples = [await ask(vllm, weights, PROMPTS[0], 40, 0.7, 0.9, seed=seed) for seed in (5, 5, 6)]
        assert samples[0].token_ids == samples[1].token_ids != samples[2].token_ids
        (own,) = await local.score_continuations(weights, TokenIds(samples[0].prompt_ids), [samples[0].token_ids])
        assert samples[0].logprobs == pytest.approx(own.logprobs, abs=1e-4)


async def test_scores_are_those_of_the_local_engine(vllm: Any, local: Any, versions: list[Weights]) -> None:
    text = "Rain is water that falls from clouds. It is wet."

    async def scored(engine: Any) -> list[Any]:
        return await asyncio.gather(
            *(engine.score(weights, user(prompt), text) for weights in versions for prompt in PROMPTS)
        )

    for ours, theirs in zip(await scored(vllm), await scored(local), strict=True):
        assert (ours.weights, ours.tokens) == (theirs.weights, theirs.tokens)
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)


async def test_all_of_the_window_can_be_read(vllm: Any, local: Any, versions: list[Weights]) -> None:
    ids = TokenIds(tuple(5 + (7 * at) % 4000 for at in range(vllm.window)))
    ours, theirs = [await engine.read(versions[-1], ids, 2) for engine in (vllm, local)]
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-3)  # up to 25 nats each
    answer = await ask(vllm, versions[-1], "word " * 1500, max_tokens=4000)
    assert len(answer.prompt_ids) + len(answer.token_ids) <= vllm.window


async def test_it_pauses_while_somebody_learns(vllm: Any, versions: list[Weights]) -> None:
    under_way = asyncio.create_task(ask(vllm, versions[-1], PROMPTS[0], 40))
    await asyncio.sleep(0)
    assert await vllm.sleep(1)
    assert under_way.done()
    asked = asyncio.create_task(ask(vllm, versions[1], PROMPTS[0], 40))
    await vllm.update(
        UpdateRequest(LORA, items([await under_way], [PROMPTS[0]]), TrainingConfig(teacher_top_k=20), "while it sleeps")
    )
    assert not asked.done()
    assert await vllm.wake(True)
    assert (await asked).weights == versions[1]


async def test_more_versions_than_vllm_holds_are_asked_at_once(vllm: Any, versions: list[Weights]) -> None:
    others = [await vllm.init_adapter(AdapterSpec(f"eval/{number}", seed=number)) for number in range(6)]
    everyone = [*others, *versions]
    answers = await asyncio.gather(*(ask(vllm, weights, "hi", 8) for weights in everyone * 3))
    assert [answer.weights for answer in answers] == everyone * 3
    by_weights = {
        weights: {answer.text for answer in answers[at :: len(everyone)]} for at, weights in enumerate(everyone)
    }
    assert all(len(texts) == 1 for texts in by_weights.values())
    base = by_weights[versions[0]]
    assert all(by_weights[other] == base for other in others)  # untrained adapters answer as the base model
    assert (await vllm.health()).detail["loaded"] <= 4


async def test_an_adapter_that_vllm_has_no_room_for_is_refused(vllm: Any) -> None:
    with pytest.raises(InvalidInput, match=r"LoRA rank 64 is greater than max_lora_rank 32.*vllm_max_lora_rank"):
        await vllm.init_adapter(AdapterSpec("eval/large", rank=64))


def test_a_run_of_the_harness_proves_every_version_by_its_canary(
    vllm: Any, versions: list[Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from claas.eval.recompute.run import recompute_run
    from claas.eval.runner import run_harness
    from claas.results.settings import EvalConfig

    monkeypatch.setenv("CLAAS_VLLM_URL", vllm._server.url)
    monkeypatch.setenv("CLAAS_VLLM_API_KEY", vllm._server.key)
    config = EvalConfig(
        mode="vllm",
        preferences=["concise"],
        num_steps=2,
        batch_size=2,
        controls=[],
        metrics=["quick"],
        limit={"heldout": 4, "out_of_scope": 2, "pairs": 2, "capability": 2},
        plots=False,
        max_tokens=48,
        output_dir=str(tmp_path / "run"),
        training=TrainingConfig(steps_per_batch=2),
    )
    results = asyncio.run(run_harness(config))
    assert results.preferences["concise"].failure is None
    assert results.new_steps == 2
    agreements = asyncio.run(recompute_run(tmp_path / "run"))
    assert [each for agreement in agreements for each in agreement.disagreements] == []


async def test_a_server_that_dies_is_said_and_leaves_nothing(vllm: Any, versions: list[Weights]) -> None:
    keeper = vllm._server._process.pid
    (leader,) = children(keeper)
    family = members(leader)
    assert len(family) > 2
    os.kill(leader, signal.SIGKILL)
    await asyncio.to_thread(vllm._server._process.wait, 30)
    with pytest.raises(StackError, match=r"the vLLM server that was started here has ended: .*; run the same command"):
        await ask(vllm, versions[-1], "hi", 4)
    assert not (await vllm.health()).ok
    await asyncio.to_thread(wait_for_end, family)


def wait_for_end(pids: list[int]) -> None:
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def members(session: int) -> list[int]:
    """The processes of a session."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session:
            found.append(int(path.parent.name))
    return found
