"""Whole runs against the scripted stack: slow, halted anywhere as if killed, continued, and recomputed at their end."""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claas.core.concurrency import together
from claas.core.errors import NotFound, StackError
from claas.eval.metrics.metric import Measurement, Metric, Subject
from claas.eval.metrics.preference import LogprobPair, Preference, VerifierResult
from claas.eval.protocols.tracks import Track, rounds_of
from claas.eval.recompute.run import recompute_records
from claas.eval.run.folder import OpenRun, open_run
from claas.eval.run.reporter import Reporter, Silent
from claas.eval.run.step import run_track
from claas.eval.run.track_run import open_track, start
from claas.eval.run.user import SimulatedUser
from claas.eval.stacks.stack import (
    Answer,
    Completion,
    CompletionScore,
    Continuation,
    PromptSize,
    Reading,
    TokenizedText,
)
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion, Counts
from claas.results.run_files import PreferenceRecords
from claas.results.settings import EvalConfig
from claas.wire.feedback import FeedbackItem
from tests.eval.recomputing import require_agreement
from tests.fakes.stack import FakeStack


@dataclass(frozen=True)
class AlwaysRight:
    def __call__(self, response: str) -> VerifierResult:
        return VerifierResult(1.0, True)


PAIR = LogprobPair(({"role": "user", "content": "Who?"},), "Kuro it is", "Nobody at all it is")
PREFERENCE = Preference(
    name="kuro",
    feedback_string="Say Kuro",
    verifier=AlwaysRight(),
    logprob_pairs=(PAIR,),
    probe_prompts=("Who?", "What?", "Why?"),
    heldout_prompts=("Where?",),
)


@dataclass(frozen=True)
class Talk:
    """A metric that needs answers and a score: mean answer length in words, and one log probability."""

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        return True

    async def measure(self, subject: Subject) -> Measurement:
        prompts = (*subject.preference.probe_prompts, *subject.preference.heldout_prompts)
        said = await together(subject.answer("talk", str(i), prompt) for i, prompt in enumerate(prompts))
        pair = subject.preference.logprob_pairs[0]
        scored, score = await subject.score("pair", "0", pair.prompt_messages, pair.positive_response)
        words = [len(answer.text.split()) for _, answer in said if answer is not None]
        return Measurement(
            values={
                "talk": {"words": sum(words) / len(words) if words else None},
                "pair": sum(score.logprobs) if score else None,
            },
            counts={
                "talk": Counts(planned=len(prompts), scored=len(words), errored=len(prompts) - len(words)),
                "pair": Counts(planned=1, scored=int(score is not None), errored=int(score is None)),
            },
            rollouts=(*(transcript for transcript, _ in said), scored),
        )


METRICS: Mapping[str, Metric] = {"talk": Talk()}


def talkative(**settings: Any) -> FakeStack:
    """A stack whose answers depend on the weights, the prompt and the seed."""
    return FakeStack(
        say=lambda adapter, prompt, seed: f"{adapter.model} " + f"{prompt} " * (1 + (seed + adapter.version) % 5),
        shift=0.1,
        **settings,
    )


@dataclass
class Halting:
    """A door to a stack that takes `delay_s` per call, and lets the `halt_at`-th call wait for ever.

    `late`: the stack does what is asked before that call waits. `log` holds ("begin" or "end", kind, version).
    """

    inner: Any
    delay_s: float = 0.0
    halt_at: int | None = None
    late: bool = False
    calls: int = 0
    halted: asyncio.Event = field(default_factory=asyncio.Event)
    log: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])

    async def base_source(self) -> str | None:
        return await self.inner.base_source()

    async def init_adapter(self, lora_id: str, seed: int) -> AdapterVersion:
        async with self._door("init", 0):
            return await self.inner.init_adapter(lora_id, seed)

    async def newest(self, lora_id: str) -> AdapterVersion:
        async with self._door("newest", 0):
            if isinstance(self.inner, FakeStack) and lora_id not in self.inner.adapters:
                raise NotFound(f"no adapter {lora_id!r}")
            return await self.inner.newest(lora_id)

    async def answer(
        self,
        adapter: AdapterVersion,
        prompt: str,
        *,
        temperature: float,
        seed: int,
        max_tokens: int,
        top_logprobs: int = 0,
        earlier: Sequence[Mapping[str, str]] = (),
        prediction: str = "",
        urgent: bool = False,
    ) -> Answer:
        async with self._door("sample" if 0 < temperature < 1 else "measure", adapter.version):
            return await self.inner.answer(
                adapter,
                prompt,
                temperature=temperature,
                seed=seed,
                max_tokens=max_tokens,
                top_logprobs=top_logprobs,
                earlier=earlier,
                prediction=prediction,
                urgent=urgent,
            )

    async def prompt_size(self, messages: Sequence[Mapping[str, str]]) -> PromptSize:
        async with self._door("size", 0):
            return await self.inner.prompt_size(messages)

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        async with self._door("score", adapter.version):
            return await self.inner.score(adapter, messages, completion)

    async def read(self, adapter: AdapterVersion, text: str, window: int) -> Reading:
        async with self._door("read", adapter.version):
            return await self.inner.read(adapter, text, window)

    async def score_continuations(
        self, adapter: AdapterVersion, prompt: Sequence[int], continuations: Sequence[TokenizedText]
    ) -> Sequence[Continuation]:
        async with self._door("continuation", adapter.version):
            return await self.inner.score_continuations(adapter, prompt, continuations)

    async def complete(
        self, adapter: AdapterVersion, prompt: Sequence[int], *, max_tokens: int, seed: int, stop: Sequence[str]
    ) -> Completion:
        async with self._door("completion", adapter.version):
            return await self.inner.complete(adapter, prompt, max_tokens=max_tokens, seed=seed, stop=stop)

    async def give_feedback(self, adapter: AdapterVersion, items: Sequence[FeedbackItem], key: str) -> Receipt:
        async with self._door("feedback", adapter.version):
            return await self.inner.give_feedback(adapter, items, key)

    @asynccontextmanager
    async def _door(self, kind: str, version: int) -> AsyncGenerator[None, None]:
        self.calls += 1
        mine = self.calls
        self.log.append(("begin", kind, version))
        if mine == self.halt_at and not self.late:
            await self._wait_for_ever()
        await asyncio.sleep(self.delay_s)
        yield
        if mine == self.halt_at:
            await self._wait_for_ever()
        self.log.append(("end", kind, version))

    async def _wait_for_ever(self) -> None:
        self.halted.set()
        await asyncio.Event().wait()


def settings(folder: Path, **changes: Any) -> EvalConfig:
    return EvalConfig(
        **{"output_dir": str(folder), "num_steps": 3, "batch_size": 2, "preferences": ["kuro"], **changes}
    )


async def run(stack: Any, config: EvalConfig, reporter: Reporter | None = None) -> None:
    """One preference, from wherever its folder says it is; what it leaves agrees with itself, however it ends."""
    with open_run(config) as opened:
        try:
            found = PreferenceRecords.read_whole(opened.files.preference(PREFERENCE.name))
            user = SimulatedUser(opened.config.user)
            track = open_track(opened, _track(opened.config), None, found, METRICS, stack, user, reporter or Silent())
            await start(track)
            await run_track(track)
        except StackError:
            await _require_recomputable(opened)
            raise
        await _require_recomputable(opened)


async def run_until_halted(stack: Halting, config: EvalConfig) -> bool:
    """A run that dies at the halting call, as a killed process does; False when it ended before."""
    died = await until_halted(stack, run(stack, config))
    with open_run(config) as opened:
        await _require_recomputable(opened)
    return died


async def until_halted(stack: Halting, work: Coroutine[Any, Any, Any]) -> bool:
    """Whether the work came to the halting call, at which it then ended."""
    running = asyncio.create_task(work)
    halted = asyncio.create_task(stack.halted.wait())
    await asyncio.wait([running, halted], return_when=asyncio.FIRST_COMPLETED)
    for task in (running, halted):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return stack.halted.is_set()


async def _require_recomputable(run: OpenRun) -> None:
    require_agreement(await recompute_records(run.files, run.manifest, run.config, [_track(run.config)], METRICS))


def _track(config: EvalConfig) -> Track:
    return Track(PREFERENCE.name, PREFERENCE.name, PREFERENCE, rounds_of(PREFERENCE, config.num_steps, config))


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run has on record, less the times it took."""
    kept = folder / "kuro"
    return {
        "baseline": _timeless(kept / "baseline.json", (kept / "baseline.json").read_text()),
        "steps": [_timeless(kept, line) for line in (kept / "steps.jsonl").read_text().splitlines()],
        "ledger": [_timeless(kept, line) for line in (kept / "ledger.jsonl").read_text().splitlines()],
    }


def _timeless(path: Path, text: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(text)
    timed = ("timestamp", "timing_s", "sample_s", "update_s", "stack_ms")
    return {key: value for key, value in record.items() if key not in timed}
