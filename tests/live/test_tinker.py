"""The Tinker engine against an independent implementation of the same API, with real weights, gradients and AdamW.

python3 -m venv .venv-skyrl && .venv-skyrl/bin/pip install 'skyrl[tinker,jax]==0.3.0'
python -m pytest -m live tests/live/test_tinker.py
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from claas.core.settings import TrainingConfig
from claas.engines.types import AdapterSpec, TrainingItem, UpdateRequest, Weights
from tests.engines.talk import CONCISE, ask, items, user
from tests.live.skyrl import INSTALL, MODEL, PYTHON, ROOT, Skyrl, skyrl

pytestmark = [pytest.mark.live, pytest.mark.anyio, pytest.mark.filterwarnings("error::FutureWarning:tinker")]

if not PYTHON.exists():
    pytest.skip(f"no SkyRL at {PYTHON}; install it with: {INSTALL}", allow_module_level=True)

LORA = "eval/concise"
PROMPTS = ("What is gravity?", "What is rain?")
RATE = 1e-3
STEPS = 20

Open = Callable[[Path], Awaitable[Any]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skyrl]:
    with skyrl(tmp_path_factory.mktemp("skyrl")) as running:
        yield running


@pytest.fixture
async def open_tinker(service: Skyrl) -> AsyncIterator[Open]:
    from claas.engines.tinker.engine import TinkerEngine

    opened: list[TinkerEngine] = []

    async def open_one(store: Path) -> TinkerEngine:
        engine = await asyncio.to_thread(
            lambda: TinkerEngine.open(MODEL, store, key="tml-local", base_url=service.url, timeout_s=300.0)
        )
        opened.append(engine)
        return engine

    yield open_one
    for engine in opened:
        await engine.close()


@pytest.fixture(scope="module")
def model() -> Any:
    from claas.engines.local.model import LoadedModel

    return LoadedModel.load(MODEL).model.float()


async def sampled(engine: Any, weights: Weights, seed: int = 1) -> list[TrainingItem]:
    asked = [ask(engine, weights, prompt, max_tokens=24, temperature=0.7, seed=seed) for prompt in PROMPTS]
    return items(await asyncio.gather(*asked), PROMPTS)


def total(scored: Any) -> float:
    return sum(scored.logprobs)


async def test_logprobs_are_those_of_transformers(open_tinker: Open, model: Any, tmp_path: Path) -> None:
    engine = await open_tinker(tmp_path)
    base = await engine.resolve(None)
    sample = await ask(engine, base, PROMPTS[0], max_tokens=24, temperature=0.7, seed=1)
    score = await engine.score(base, user(PROMPTS[0]), "It pulls things together.")
    ids = (await engine.encode(user(PROMPTS[0]))).ids
    completion = (await engine.encode("It pulls things together.")).ids
    assert sample.logprobs == pytest.approx(torch_logprobs(model, sample.prompt_ids, sample.token_ids), abs=1e-4)
    expected = torch_logprobs(model, ids, completion)
    assert score.logprobs[: len(completion)] == pytest.approx(expected, abs=1e-4)


async def test_sampling_is_reproducible_and_greedy_at_zero(open_tinker: Open, tmp_path: Path) -> None:
    engine = await open_tinker(tmp_path)
    base = await engine.resolve(None)

    async def said(temperature: float, seed: int) -> tuple[int, ...]:
        return (await ask(engine, base, PROMPTS[0], max_tokens=24, temperature=temperature, seed=seed)).token_ids

    assert await said(1.0, 1) == await said(1.0, 1)
    assert len({await said(1.0, seed) for seed in range(4)}) > 1
    assert await said(0.0, 1) == await said(0.0, 2)


async def test_updates_are_those_of_torch(open_tinker: Open, model: Any, tmp_path: Path) -> None:
    """Two updates of two AdamW steps each, the second after a restart: parameters as torch makes them, to 1e-5."""
    engine = await open_tinker(tmp_path)
    weights = await engine.init_adapter(AdapterSpec(LORA, rank=8, seed=7))
    training = TrainingConfig(learning_rate=RATE, steps_per_batch=2, max_grad_norm=0.0)
    reference = await TorchRun.of(engine, weights, model)
    for number in (1, 2):
        taken = await sampled(engine, weights, seed=number)
        expected = reference.update(taken, training)
        update = await engine.update(UpdateRequest(LORA, taken, training, f"key-{number}"))
        weights = update.weights
        made = await reference.tensors_of(engine, weights)
        worst = max(float((made[name] - expected[name]).abs()[~reference.noise[name]].max()) for name in expected)
        moved = max(float((made[name] - reference.start[name]).abs().max()) for name in expected)
        assert moved > RATE, "it moved by more than a step"
        assert reference.noise_share() < 1e-3
        assert worst < 1e-5, f"update {number} is {worst:g} from torch's"
        assert update.metrics["adv_mean"] == pytest.approx(reference.adv_mean, abs=1e-4)
        await engine.close()
        engine = await open_tinker(tmp_path)


async def test_advantages_push_as_they_are_signed_and_weighted(open_tinker: Open, tmp_path: Path) -> None:
    """Answers that the teacher likes less than the student get less likely, and the others more."""
    engine = await open_tinker(tmp_path)
    start = await engine.init_adapter(AdapterSpec(LORA, rank=8))
    taken = await sampled(engine, start)
    update = await engine.update(
        UpdateRequest(LORA, taken, TrainingConfig(learning_rate=RATE, steps_per_batch=2), "key")
    )
    before, after = [], []
    for item in taken:
        [was, now] = [await engine.read(w, _whole(item)) for w in (start, update.weights)]
        before.append(was.logprobs[-len(item.token_ids) :])
        after.append(now.logprobs[-len(item.token_ids) :])
    moved = sum(sum(now) - sum(was) for was, now in zip(before, after, strict=True))
    assert moved * update.metrics["adv_mean"] > 0


async def test_versions_answer_on_after_newer_ones_and_a_restart(
    open_tinker: Open, service: Skyrl, tmp_path: Path
) -> None:
    before = service.saved()
    engine = await open_tinker(tmp_path)
    versions = [await engine.init_adapter(AdapterSpec(LORA, rank=8)), await engine.init_adapter(AdapterSpec("other"))]
    for key in ("one", "two"):
        taken = await sampled(engine, await engine.resolve(LORA))
        versions.append(
            (await engine.update(UpdateRequest(LORA, taken, TrainingConfig(learning_rate=RATE), key))).weights
        )

    async def totals(of: Any) -> list[float]:
        return [total(await of.score(weights, user("What is rain?"), "Water.")) for weights in versions]

    told = await totals(engine)
    assert told[0] == pytest.approx(told[1], abs=1e-5), "untrained, both are the base model"
    assert len({round(value, 3) for value in told[1:]}) == 3
    await engine.close()
    assert await totals(await open_tinker(tmp_path)) == pytest.approx(told, abs=1e-5)
    again = await open_tinker(tmp_path)
    assert await again.delete_adapter(LORA)
    [left] = service.saved() - before
    assert left.startswith("other-000000-"), "what was deleted is gone at the service, too"


def test_a_run_that_was_killed_continues_and_learns(service: Skyrl, tmp_path: Path) -> None:
    """The whole harness in one process, killed after a few steps and started again: exactly once, and it learns."""
    log = tmp_path / "log"
    first = harness(service, tmp_path, log)
    steps = tmp_path / "run" / "concise" / "steps.jsonl"
    while len(lines(steps)) < 3:
        assert first.poll() is None, log.read_text()
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert harness(service, tmp_path, log).wait() == 0, log.read_text()
    found = lines(steps)
    assert [record["step"] for record in found] == list(range(STEPS))
    assert [record["adapter"]["version"] for record in found] == list(range(1, STEPS + 1))
    stored = [
        json.loads(path.read_text()) for path in sorted((tmp_path / "run" / "stack" / "tinker").glob("*/[0-9]*.json"))
    ]
    keys = [version["key"] for version in stored]
    assert keys == [None, *(f"run/concise/{step}" for step in range(STEPS))], "each step was trained once"
    from claas.engines.tinker.versions import digest_of

    digests = [digest_of(version["sampler_path"]) for version in stored]
    assert [record["adapter"]["digest"] for record in found] == digests[1:]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["preferences"]["concise"]["deltas"]["logprob_margin.margin"] > 1.0
    assert summary["tokens"]["trained"] > 0
    assert summary["cost"] > 0
    assert "tml-local" not in log.read_text()
    assert not any("tml-local" in path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())


def harness(service: Skyrl, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    arguments = [
        *("mode=tinker", f"base_model={MODEL}", "preferences=[concise]", f"num_steps={STEPS}", "metrics=[logprob]"),
        *("batch_size=2", "max_tokens=24", "training.steps_per_batch=2", "plots=false", "output_dir=run"),
        "prices={sample: 1.0, prefill: 0.5, train: 1.5}",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TINKER_BASE_URL": service.url,
        "CLAAS_TINKER_API_KEY": "tml-local",
    }
    with log.open("a") as file:
        command = [sys.executable, "-m", "claas.eval", *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=file, stderr=file)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _whole(item: TrainingItem) -> Any:
    from claas.engines.types import TokenIds

    return TokenIds((*item.prompt_ids, *item.token_ids))


def torch_logprobs(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
    return answer_logprobs(model, prompt, answer).tolist()


def answer_logprobs(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> Any:
    """Log probabilities (T,) of the answer's tokens."""
    import torch

    ids = torch.tensor([[*prompt, *answer]])
    logprobs = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return logprobs.gather(-1, torch.tensor(answer)[:, None])[:, 0]


class TorchRun:
    """The same update in torch: the exported adapter under PEFT, the loss written out, and torch's own AdamW."""

    def __init__(self, model: Any, parameters: dict[str, Any], chat: Any) -> None:
        import torch

        self._model = model
        self._parameters = parameters
        self._chat = chat
        self.start = self.tensors()
        unique = list({id(parameter): parameter for parameter in parameters.values()}.values())
        self._optimizer = torch.optim.AdamW(unique, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        self.adv_mean = 0.0
        self.noise = {name: torch.zeros_like(parameter, dtype=torch.bool) for name, parameter in parameters.items()}

    def noise_share(self) -> float:
        """The share of parameters that once had a gradient of rounding errors only, which AdamW takes a step from."""
        return sum(int(mask.sum()) for mask in self.noise.values()) / sum(mask.numel() for mask in self.noise.values())

    @classmethod
    async def of(cls, engine: Any, weights: Weights, model: Any) -> "TorchRun":
        import copy

        import torch
        from peft import PeftModel

        directory = await engine.export_adapter(weights.lora_id, weights.version)
        wrapped: Any = PeftModel.from_pretrained(copy.deepcopy(model), str(directory), is_trainable=True)
        wrapped.eval()
        parameters: dict[str, Any] = {}
        tied: list[tuple[Any, Any]] = []
        for name, module in wrapped.named_modules():
            for kind in ("lora_A", "lora_B"):
                if name.endswith(f".{kind}.default"):
                    parent = name.rsplit(".", 3)[0]
                    same = [shared for at, shared in tied if at == parent and torch.equal(shared, module.weight)]
                    if kind == "lora_A" and same:
                        module.weight = same[0]  # SkyRL has one A for q, k and v, and one for gate and up
                    elif kind == "lora_A":
                        tied.append((parent, module.weight))
                    parameters[name.replace(".default", ".weight")] = module.weight
        return cls(wrapped, parameters, engine)

    async def tensors_of(self, engine: Any, weights: Weights) -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file((await engine.export_adapter(weights.lora_id, weights.version)) / "adapter_model.safetensors")

    def tensors(self) -> dict[str, Any]:
        return {name: parameter.detach().clone() for name, parameter in self._parameters.items()}

    def update(self, taken: Sequence[TrainingItem], training: TrainingConfig) -> dict[str, Any]:
        import torch

        from claas.core.hindsight import with_hindsight
        from tests.engines.tinker.words import chat

        gaps: list[Any] = []
        with torch.no_grad():
            for item in taken:
                teacher_prompt = chat().prompt_ids(with_hindsight(item.messages, CONCISE, 1))
                with self._model.disable_adapter():
                    teacher = answer_logprobs(self._model, teacher_prompt, item.token_ids)
                gaps.append(teacher - answer_logprobs(self._model, item.prompt_ids, item.token_ids))
        raw = float(torch.cat(gaps).abs().mean())
        gain = min(max(0.03 / raw, 1.0), 4.0)
        self.adv_mean = gain * float(torch.cat(gaps).mean())
        for _ in range(training.steps_per_batch):
            self._optimizer.zero_grad()
            loss: Any = sum(
                -(
                    (answer_logprobs(self._model, item.prompt_ids, item.token_ids) - torch.tensor(item.logprobs)).exp()
                    * gain
                    * gap
                ).sum()
                for item, gap in zip(taken, gaps, strict=True)
            )
            loss.backward()
            for name, parameter in self._parameters.items():
                self.noise[name] |= (parameter.grad != 0) & (parameter.grad.abs() < 1e-6)
            self._optimizer.step()
        return self.tensors()
