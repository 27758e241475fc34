"""The harness as a whole: its speed, what it adds, what it needs, and whether it shows learning and collapse."""

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.report import Report
from benchmarks.slow_stack import slow_stack
from claas.api.journal import Journal
from claas.core.files import append_line
from claas.core.settings import TrainingConfig
from claas.eval.run.canary import ANSWER_TOKENS, PROMPT, canary_text
from claas.eval.runner import load, run_harness
from claas.eval.stacks.open_stack import open_stack
from claas.eval.stacks.stack import Answer, CompletionScore, Stack
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion, Transcript
from claas.results.run_files import RunFiles
from claas.results.settings import EvalConfig
from claas.results.summary import RunResults
from claas.wire.feedback import FeedbackItem
from tests.fakes.engine import BASE_MODEL

ROUNDS = 3
PREFERENCES = ("concise", "no_emoji", "identity")
_SYNCED = "the API's answers, each on the disk before its reply"


def speed() -> int:
    """The 20-step concise run with all metrics, against the same requests sent one after another."""
    report = Report()
    together = run_once(EvalConfig(preferences=["concise"], plots=False))
    one_by_one = run_once(EvalConfig(preferences=["concise"], plots=False, max_concurrency=1))
    report.line("20 steps, all metrics, after start-up", together.seconds, "s", at_most=45.0)
    report.line("the same requests one after another", one_by_one.seconds, "s")
    report.line("speed-up", one_by_one.seconds / together.seconds, "x", at_least=2.0)
    report.line("harness overhead: no request under way", 100 * together.idle_share, "%", at_most=5.0)
    return report.exit_code


def latency() -> int:
    """Over a socket, against a stack that takes 50 ms a request: how much of the waiting is done at the same time."""
    report = Report()
    asked = EvalConfig(preferences=["concise"], controls=[], base_model=BASE_MODEL, plots=False)
    with slow_stack() as url:
        together = run_once(replace(asked, claas_url=url, num_steps=10))
    with slow_stack() as url:
        one_by_one = run_once(replace(asked, claas_url=url, num_steps=1, max_concurrency=1))
    report.line("a request, of 10 steps with 128 in flight", 1000 * together.seconds / together.requests, "ms")
    report.line("one after another", 1000 * one_by_one.seconds / one_by_one.requests, "ms")
    faster = one_by_one.seconds / one_by_one.requests / (together.seconds / together.requests)
    report.line("speed-up", faster, "x", at_least=10.0)
    return report.exit_code


def predictions() -> int:
    """A version's greedy answers once more, without predictions and with the answers of the version before as such."""
    report = Report()

    async def again(stack: Stack, folder: Path) -> None:
        *_, before, last = RunFiles(folder).preference("concise").read_steps()
        known = {each.prompt: each.response or "" for each in before.rollouts if each.temperature == 0}
        said = [each for each in last.rollouts if each.temperature == 0]

        async def seconds(answers: Sequence[Transcript], most: int, predicted: Mapping[str, str]) -> float:
            gate, started = asyncio.Semaphore(most), time.process_time()

            async def ask(each: Transcript) -> None:
                async with gate:
                    prediction = predicted.get(each.prompt, "")
                    bound = EvalConfig().max_tokens
                    answer = await stack.answer(
                        last.adapter, each.prompt, temperature=0.0, seed=0, max_tokens=bound, prediction=prediction
                    )
                assert answer.logprobs == tuple(each.logprobs or ())

            await asyncio.gather(*map(ask, answers))
            return time.process_time() - started

        for most, answers in ((EvalConfig().max_concurrency, said), (16, said[:64]), (1, said[:24])):
            took = [(await seconds(answers, most, {}), await seconds(answers, most, known)) for _ in range(ROUNDS)]
            plain, predicted = map(min, zip(*took, strict=True))
            report.line(f"CPU s of {len(answers)} answers, {most} at once", plain, "s")
            report.line("than with predictions", plain / predicted, "x", at_least=2.0 if most == 1 else None)

    run_once(EvalConfig(preferences=["concise"], num_steps=8, plots=False), afterwards=again)
    return report.exit_code


def checks() -> int:
    """What the checks cost: all that is done only so that the numbers can be trusted, repeated and timed alone."""
    report = Report()
    seconds: dict[str, float] = {}

    async def again(stack: Stack, folder: Path) -> None:
        files = RunFiles(folder).preference("concise")
        baseline, steps = files.read_baseline(), files.read_steps()
        with _timed(seconds, "records and ledger, written and synced"), tempfile.TemporaryDirectory(dir=folder) as copy:
            for path in (files.ledger, files.root / "steps.jsonl"):
                for line in path.read_text(encoding="utf-8").splitlines():
                    append_line(Path(copy) / path.name, line)
        recorded = (folder / "stack" / "rollouts.jsonl").read_bytes().splitlines()
        with _timed(seconds, _SYNCED), tempfile.TemporaryDirectory(dir=folder) as copy:
            await _recorded_again(recorded, Path(copy) / "rollouts.jsonl")
        with _timed(seconds, "canary, at every version"):
            for record in (baseline, *steps):
                assert record is not None
                asked = record.adapter, PROMPT[0]["content"]
                said = [stack.answer(*asked, temperature=1.0, seed=n, max_tokens=ANSWER_TOKENS) for n in range(2)]
                scored = [stack.score(record.adapter, PROMPT, canary_text(str(n))) for n in range(5)]
                await asyncio.gather(*said, *scored)
        with _timed(seconds, "preference loaded, its verifier audited"):
            load(EvalConfig(preferences=["concise"]))

    run = run_once(EvalConfig(preferences=["concise"], plots=False), afterwards=again)
    for what, spent in seconds.items():
        report.line(what, 100 * spent / run.seconds, "%", at_most=2.0 if what == _SYNCED else None)
    report.line("all of it, as a share of the 20-step run", 100 * sum(seconds.values()) / run.seconds, "%", at_most=3.0)
    return report.exit_code


def memory() -> int:
    """Peak resident memory of the whole command, in a process of its own."""
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "claas.eval", "preferences=[concise]", f"output_dir={folder}/run"]
        subprocess.run(command, check=True, capture_output=True)
    peak_gib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    report.line("peak memory of the 20-step run", peak_gib, "GiB", at_most=2.0)
    return report.exit_code


def learning() -> int:
    """All three preferences at the default settings."""
    report = Report()
    run = run_once(EvalConfig(preferences=list(PREFERENCES), plots=False))
    for name, found in run.results.summary.preferences.items():
        lost = [item for kind in ("knowledge", "form") for item in found.changed_items[kind].lost]
        report.line(f"{name}: held-out compliance", found.finals["heldout_compliance"], "", at_least=0.8)
        report.line(f"{name}: margin gain", found.deltas["logprob_margin.margin"], "nats", at_least=2.0)
        for kept in ("knowledge_retention", "form_retention"):
            report.line(f"{name}: {kept}", found.criteria[kept].value, "", at_least=0.9)
        report.line(f"{name}: collapse alert", found.finals["collapse.alert"], "", at_most=0.0)
        report.note(f"{name}: verdict {found.verdict}; items lost: {', '.join(lost) or 'none'}")
    return report.exit_code


def collapse() -> int:
    """Far too high a learning rate: the alarms must fire and the verdict must be fail."""
    report = Report()
    training = TrainingConfig(learning_rate=3e-2)
    run = run_once(EvalConfig(preferences=["concise"], training=training, plots=False))
    found = run.results.summary.preferences["concise"]
    report.line("collapse alert", found.finals["collapse.alert"], "", at_least=1.0)
    report.line("knowledge_retention", found.criteria["knowledge_retention"].value, "", at_most=0.5)
    report.line("held-out compliance, which does not tell", found.finals["heldout_compliance"], "")
    report.line("verdict is fail", float(found.verdict == "fail"), "", at_least=1.0)
    report.note(f"{found.reason}")
    return report.exit_code


async def _recorded_again(lines: Sequence[bytes], copy: Path) -> None:
    """Every answer of a run, written and synced once more, as many at a time as a harness asks for."""
    slots = asyncio.Semaphore(EvalConfig().max_concurrency)
    journal = Journal(copy, len(lines), lambda line: ())

    async def keep(line: bytes) -> None:
        async with slots:
            await journal.append(line)

    await asyncio.gather(*map(keep, lines))
    journal.close()


@dataclass
class Watched:
    """A stack that counts what it is asked and remembers how long nothing was under way."""

    inner: Stack
    requests: int = 0
    idle_s: float = 0.0
    _under_way: int = 0
    _since: float = field(default_factory=time.monotonic)

    async def base_source(self) -> str | None:
        return await self.inner.base_source()

    async def init_adapter(self, lora_id: str, seed: int) -> AdapterVersion:
        with self:
            return await self.inner.init_adapter(lora_id, seed)

    async def newest(self, lora_id: str) -> AdapterVersion:
        with self:
            return await self.inner.newest(lora_id)

    async def answer(self, *asked: Any, **options: Any) -> Answer:
        with self:
            return await self.inner.answer(*asked, **options)

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        with self:
            return await self.inner.score(adapter, messages, completion)

    async def give_feedback(self, adapter: AdapterVersion, items: Sequence[FeedbackItem], key: str) -> Receipt:
        with self:
            return await self.inner.give_feedback(adapter, items, key)

    def __enter__(self) -> None:
        if self._under_way == 0:
            self.idle_s += time.monotonic() - self._since
        self._under_way += 1
        self.requests += 1

    def __exit__(self, *_: object) -> None:
        self._under_way -= 1
        self._since = time.monotonic()


@contextmanager
def _timed(seconds: dict[str, float], what: str) -> Generator[None]:
    started = time.monotonic()
    yield
    seconds[what] = time.monotonic() - started


@dataclass(frozen=True)
class TimedRun:
    results: RunResults
    seconds: float
    requests: int
    idle_share: float


def run_once(
    config: EvalConfig,
    opened: Callable[[EvalConfig, Path], object] = open_stack,
    afterwards: Callable[[Stack, Path], Awaitable[None]] | None = None,
) -> TimedRun:
    """One run in a folder of its own, timed from the moment its stack is open to the last record.

    `afterwards` gets the stack while it is still open, and the run's folder.
    """
    watched: list[Watched] = []
    started: list[float] = []

    @asynccontextmanager
    async def watching(config: EvalConfig, store_dir: Path) -> AsyncGenerator[Stack, None]:
        async with opened(config, store_dir) as stack:  # type: ignore[attr-defined]  # an async context manager
            started.append(time.monotonic())
            watched.append(Watched(stack))
            yield watched[0]
            started.append(time.monotonic())
            if afterwards is not None:
                await afterwards(stack, store_dir.parent)

    with tempfile.TemporaryDirectory() as folder:
        config.output_dir = f"{folder}/run"
        results = asyncio.run(run_harness(config, open_stack=watching))
    if results.failures:
        raise SystemExit(f"the run failed: {results.failures}")
    seconds = started[1] - started[0]
    return TimedRun(results, seconds, watched[0].requests, watched[0].idle_s / seconds)
