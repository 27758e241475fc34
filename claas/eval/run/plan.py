"""The plan of a run: its requests, the effects it could detect, and its cost, before anything is sent.

Requests are counted by running every metric on dummy answers, so that the count is exact for any metric. Tokens and
time per request come from the records in the run's own folder, such as those of `plan=pilot`: the baseline and one
step, from which the run then continues.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import scipy  # pyright: ignore[reportMissingTypeStubs]

from claas.eval.metrics.metric import Metric, Opinion, Subject, declared
from claas.eval.protocols.arms import measured_of
from claas.eval.protocols.tracks import Track
from claas.eval.run.measuring import measure_all, tokens
from claas.eval.stacks.stack import Answer, Completion, CompletionScore, Continuation, Reading, Stack, TokenizedText
from claas.results.estimates import threshold_of
from claas.results.evidence import by_item
from claas.results.keys import Criterion, judged
from claas.results.means import detectable_distance
from claas.results.records import SAMPLED, USER, AdapterVersion, Baseline, Record, Transcript, utc_now
from claas.results.run_files import PreferenceRecords, RunFiles
from claas.results.settings import EvalConfig
from claas.results.statistics import POWER, retention_interval, wilson
from claas.results.summary import estimated_cost
from claas.results.user import LLM

_scipy: Any = scipy  # ships no types: what comes from it is made a float where it enters


class Detectable(Record):
    """What a criterion can show with `n` items: it passes from `pass_from` on; `says` puts that in words.

    `passes_at` is the true value at which it does so with probability `statistics.POWER`.
    """

    n: int
    pass_from: float | None
    passes_at: float | None
    says: str


class RunPlan(Record):
    """The plan of a run. `requests` are by metric, with those that sample training answers under `sample`.

    `tokens`, `seconds` and `cost` are None where the folder has no records to estimate them from.
    """

    updates: int
    measurements: int
    requests: dict[str, int]
    detectable: dict[str, dict[str, Detectable]]
    tokens: dict[str, int] | None
    seconds: float | None
    cost: float | None
    warnings: list[str]


async def plan_of(config: EvalConfig, tracks: Sequence[Track], metrics: Mapping[str, Metric]) -> RunPlan:
    """The plan of a run; the thresholds in `config` are resolved."""
    config = config.resolved()
    requests, measurements = Counter[str](), 0
    detectable: dict[str, dict[str, Detectable]] = {}
    for track in tracks:
        counted = _Counted(config, track, measured_of(track, metrics))
        baseline = await counted.count()
        requests += sum(counted.requests, Counter[str]())
        measurements += counted.measurements
        if track.control_of is None:
            detectable[track.name] = counted.detectable(baseline.rollouts)
    tokens, seconds = _from_records(config, tracks, requests)
    return RunPlan(
        updates=sum(track.num_steps for track in tracks),
        measurements=measurements,
        requests=dict(requests),
        detectable=detectable,
        tokens=tokens,
        seconds=seconds,
        cost=None if tokens is None or config.prices is None else estimated_cost(tokens, config.prices),
        warnings=[*_warnings(requests, detectable), *_at_most(config)],
    )


async def planned_requests(config: EvalConfig, track: Track, metrics: Mapping[str, Metric]) -> list[int]:
    """How many requests a track's baseline makes, and each of its steps; `config` is resolved."""
    counted = _Counted(config, track, measured_of(track, metrics))
    await counted.count()
    return [each.total() for each in counted.requests]


@dataclass
class _Counted:
    """The requests of one track by metric, for its baseline and each step, and the number of measurements."""

    config: EvalConfig
    track: Track
    metrics: Mapping[str, Metric]
    requests: list[Counter[str]] = field(default_factory=list[Counter[str]])
    measurements: int = 1

    async def count(self) -> Baseline:
        """Measure the baseline and every step on dummy answers; equal steps are measured once."""
        baseline = await self._measure(None, None)
        self.requests.append(_by_metric(baseline.rollouts))
        by_due: dict[tuple[str, ...], Counter[str]] = {}
        checkpoints = self.track.checkpoints(self.config)
        for step in range(self.track.num_steps):
            due = self.track.metrics_at(step, self.metrics, self.config)
            names = tuple(name for name, metric in due.items() if metric.due(step, checkpoints))
            if names not in by_due:
                by_due[names] = _by_metric((await self._measure(step, baseline)).rollouts)
            self.requests.append(by_due[names] + self._to_train(step))
            self.measurements += bool(names)
        return baseline

    def _to_train(self, step: int) -> Counter[str]:
        items = self.track.rounds[step]
        heard = [item for item in items if item.feedback is not None] if self.config.user.kind == LLM else []
        return Counter({SAMPLED: len(items), USER: len(heard)})

    async def _measure(self, step: int | None, baseline: Baseline | None) -> Baseline:
        adapter = AdapterVersion(lora_id="planned", version=0 if step is None else step + 1, digest="")
        subject = _Standing(
            stack=cast(Stack, None),
            adapter=adapter,
            preference=self.track.preference,
            step=step,
            baseline=baseline,
            run_seed=self.config.seed,
            max_tokens=self.config.max_tokens,
            counts=True,
        )
        due = self.track.metrics_at(step, self.metrics, self.config)
        found = await measure_all(due, subject, self.track.checkpoints(self.config))
        return Baseline(
            preference=self.track.preference.name,
            timestamp=utc_now(),
            adapter=adapter,
            eval=found.values,
            counts=found.counts,
            rollouts=found.rollouts,
            timing_s={},
            tokens={},
        )

    def detectable(self, rollouts: Sequence[Transcript]) -> dict[str, Detectable]:
        """What each criterion can show with as many items as there are in the baseline's `rollouts`."""
        keys = [key for metric in self.metrics.values() for key in declared(metric, self.track.preference)]
        found: dict[str, Detectable] = {}
        for key, criterion in judged(keys):
            n = len(by_item(rollouts, key.items)) if key.items is not None else 0
            if n:
                threshold = threshold_of(criterion, self.config.criteria)
                found[criterion.name] = detectable(criterion, n, threshold, self.config.confidence)
        return found


def detectable(criterion: Criterion, n: int, threshold: float, confidence: float) -> Detectable:
    """The smallest effect that a criterion can show with `n` items."""
    if criterion.estimator == "share" and criterion.above:
        passing = [k for k in range(n + 1) if wilson(k, n, confidence).low >= threshold]
        if not passing:
            return Detectable(n=n, pass_from=None, passes_at=None, says=f"cannot pass with {n}")
        rate = _rate_reaching(passing[0], n)
        says = f"passes from {passing[0]} of {n}; a true rate of {rate:.3f} does with probability {POWER:g}"
        return Detectable(n=n, pass_from=passing[0] / n, passes_at=rate, says=says)
    if criterion.estimator == "retention":
        return _retention(n, threshold, confidence)
    if n == 1:
        return Detectable(n=n, pass_from=None, passes_at=None, says="a single item has no spread")
    distance = detectable_distance(n, confidence)
    says = f"is told from the threshold at {distance:.2f} standard deviations of an item, with probability {POWER:g}"
    return Detectable(n=n, pass_from=None, passes_at=None, says=says)


def _retention(n: int, threshold: float, confidence: float) -> Detectable:
    lost = -1
    while lost + 1 < n:
        after = [0.0] * (lost + 1) + [1.0] * (n - lost - 1)
        interval = retention_interval(after, [1.0] * n, confidence)
        if interval is None or interval.low <= threshold:
            break
        lost += 1
    if lost < 0:
        return Detectable(n=n, pass_from=None, passes_at=None, says=f"cannot pass with {n}, though all be kept")
    kept = _rate_reaching(n - lost, n)
    says = f"passes with at most {lost} of {n} lost; a true loss of {1 - kept:.1%} does with probability {POWER:g}"
    return Detectable(n=n, pass_from=(n - lost) / n, passes_at=kept, says=says)


def _rate_reaching(successes: int, n: int) -> float:
    """The success rate at which at least that many of n succeed with probability `POWER`."""
    return 0.0 if successes == 0 else float(_scipy.special.betaincinv(successes, n - successes + 1, POWER))


def _by_metric(rollouts: Sequence[Transcript]) -> Counter[str]:
    return Counter(rollout.metric for rollout in rollouts)


def _from_records(
    config: EvalConfig, tracks: Sequence[Track], requests: Mapping[str, int]
) -> tuple[dict[str, int] | None, float | None]:
    """Estimated tokens by kind and seconds, from the mean of each metric's recorded requests."""
    if config.output_dir is None:
        return None, None
    files = RunFiles(Path(config.output_dir).expanduser())
    seen = [PreferenceRecords.read(files.preference(track.name)) for track in tracks]
    records = [record for each in seen for record in (each.baseline, *each.steps) if record is not None]
    rollouts = [rollout for record in records for rollout in record.rollouts]
    asked = _by_metric(rollouts)
    if not any(each.steps for each in seen) or not set(requests) <= set(asked) | {"across"}:
        return None, None
    total = Counter[str]()
    for rollout in rollouts:
        share = requests.get(rollout.metric, 0) / asked[rollout.metric]
        for kind, amount in tokens([rollout]).items():
            total[kind] += round(share * amount * 1000)
    measuring = sum(record.timing_s.get("measure", 0.0) for record in records) / len(rollouts)
    steps = [step for each in seen for step in each.steps]
    a_step = sum(step.timing_s.get("sample", 0.0) + step.timing_s.get("update", 0.0) for step in steps) / len(steps)
    updates = sum(track.num_steps for track in tracks)
    seconds = measuring * sum(requests.values()) + a_step * updates
    return {kind: amount // 1000 for kind, amount in total.items()}, seconds


def _warnings(requests: Mapping[str, int], detectable: Mapping[str, Mapping[str, Detectable]]) -> list[str]:
    total = sum(requests.values())
    said = [
        f"{name}: {criterion} {found.says}: it can hardly pass"
        for name, criteria in detectable.items()
        for criterion, found in criteria.items()
        if (found.pass_from is None and found.says.startswith("cannot")) or (found.passes_at or 0) > 0.98
    ]
    said += [
        f"{metric} is {100 * count / total:.0f} % of all requests"
        for metric, count in requests.items()
        if count > total / 2
    ]
    return [*said, "one seed is one draw: 3 are a picture, 5 the fewest for an interval over seeds"]


def _at_most(config: EvalConfig) -> list[str]:
    patience = config.user.leaves_after
    said = f"all of it is the most there can be: a user who is content for {patience} rounds in a row ends a preference"
    return [] if patience is None else [said]


_SAID = "Yes."


@dataclass(frozen=True)
class _Standing(Subject):
    """A subject that gives dummy answers to everything."""

    async def _ask(self, asked: Transcript, seed: int, temperature: float, top_logprobs: int) -> Answer:
        return Answer(
            text=_SAID,
            finish_reason="stop",
            rollout_id="",
            logprobs=(-1.0,),
            mean_entropy=1.0,
            top_logprobs=((-1.0, -2.0),) if top_logprobs else (),
            prompt_tokens=1,
            completion_tokens=1,
            tokens=(_SAID,),
        )

    async def newest_that_fit(
        self, metric: str, exchanges: Sequence[Sequence[Mapping[str, str]]], prompts: Sequence[str]
    ) -> int:
        """All of them: the number of requests does not depend on it."""
        return len(exchanges)

    async def _rate(
        self, asked: Transcript, messages: tuple[Mapping[str, str], ...], completion: str
    ) -> CompletionScore:
        return CompletionScore(logprobs=(-1.0,), prompt_tokens=1)

    async def _look(self, asked: Transcript, window: int) -> Reading:
        return Reading(given="", tokens=(_SAID,), logprobs=(-1.0,), context_tokens=1, digest="")

    async def _consult(self, asked: Transcript, ask: Callable[[], Awaitable[Opinion]]) -> Opinion:
        return Opinion(_SAID, {})

    async def _follow(
        self, asked: Sequence[Transcript], prompt: TokenizedText, continuations: Sequence[TokenizedText]
    ) -> Sequence[Continuation]:
        return [
            Continuation(logprobs=(-1.0,) * len(each.ids), likeliest=(True,) * len(each.ids)) for each in continuations
        ]

    async def _continue(
        self, asked: Transcript, prompt: TokenizedText, max_tokens: int, stop: Sequence[str]
    ) -> Completion:
        return Completion(text=_SAID, finish_reason="stop", tokens=(_SAID,), logprobs=(-1.0,))
