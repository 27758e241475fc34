"""The win rate over the base model, judged at the checkpoints of a run."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx

from claas.bench.judge.answers import AnswerPair, Asked
from claas.bench.judge.judge import Judge, judgment_log, open_judge
from claas.bench.judge.prompt import Exchange, JudgePrompt, place_named
from claas.bench.judge.settings import JudgePrices, JudgeSettings, require_priced
from claas.core.checks import in_range
from claas.core.concurrency import together
from claas.core.configuration import checked
from claas.core.errors import StackError
from claas.eval.metrics.metric import Measurement, Opinion, Subject, counted
from claas.eval.stacks.stack import LostAnswer
from claas.results.judging import ORDERS, JudgedItem, Order, Winner, WinRates, winner
from claas.results.keys import Key
from claas.results.records import Transcript

_METRIC = "win_rate"
_JUDGED: Mapping[Winner, Mapping[str, float | str | bool]] = {
    "a": {"winner": "base", "score": 0.0, "passed": False},
    "tie": {"winner": "tie", "score": 0.5, "passed": False},
    "b": {"winner": "version", "score": 1.0, "passed": True},
}


@dataclass(frozen=True)
class WinRate:
    """How often a judge prefers the version's greedy answers to the base model's, a tie counting half.

    On the held-out prompts, or the probe prompts where there are none; at baseline and at the checkpoints. The base
    model's answers are those of version 0. Every pair is judged in both orders, and a win counts only if both agree.
    `low` and `high` are the ends of its 95 % interval, `length_controlled` what it would be at equal length. `ties`,
    `flipped` ones among them (the winner changed with the order), `unreadable` and `lost` count prompts. The judge is
    none of the stack: its replies are on record, so that the numbers can be recomputed without it, and are kept in
    `judgments`, so that none is asked for twice, by a run that goes on, or by another. `budget_usd` bounds what that
    file has cost: beyond it the run ends, and goes on once it is raised.
    """

    keys: ClassVar[tuple[Key, ...]] = (
        Key(
            key="win_rate.win_rate",
            title="Win rate over the base model",
            unit="share of prompts",
            limits=(0.0, 1.0),
            better="higher",
            at_baseline=0.5,
            axis=(-0.03, 1.03),
            heading="win rate",
        ),
        Key(key="win_rate.low", title="Win rate: lower end of its interval", limits=(0.0, 1.0)),
        Key(key="win_rate.high", title="Win rate: upper end of its interval", limits=(0.0, 1.0)),
        Key(
            key="win_rate.length_controlled",
            title="Win rate at equal length",
            unit="share of prompts",
            limits=(0.0, 1.0),
            better="higher",
            at_baseline=0.5,
        ),
        Key(key="win_rate.prompts", title="Prompts that were judged", unit="prompts", limits=(0.0, None)),
        Key(key="win_rate.ties", title="Ties", unit="prompts", limits=(0.0, None)),
        Key(key="win_rate.flipped", title="Ties because the order decided", unit="prompts", limits=(0.0, None)),
        Key(key="win_rate.unreadable", title="Left out: no verdict to read", unit="prompts", limits=(0.0, None)),
        Key(key="win_rate.lost", title="Left out: an answer or a reply was lost", unit="prompts", limits=(0.0, None)),
    )

    judge: str
    max_prompts: int | None
    settings: JudgeSettings = field(repr=False)
    prompt: JudgePrompt = field(repr=False)
    judgments: Path = field(repr=False)
    prices: JudgePrices = field(repr=False)
    budget_usd: float | None = field(repr=False)
    transport: httpx.AsyncBaseTransport | None = field(default=None, repr=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    @classmethod
    def by_endpoint(
        cls,
        judgments: str = "data/judgments.jsonl",
        max_prompts: int | None = None,
        prices: Mapping[str, Any] | None = None,
        budget_usd: float | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        **judge: Any,
    ) -> Self:
        """The metric over so many prompts at most, all where it is None; `judge` are settings of the judge."""
        if max_prompts is not None:
            in_range("max_prompts", max_prompts, 1)
        settings, costs = checked(JudgeSettings, judge), checked(JudgePrices, prices or {})
        require_priced(budget_usd, costs)
        if settings.base_url is not None or settings.model is not None:
            settings.endpoint()
        prompt = JudgePrompt.from_file(settings.prompt)
        return cls(
            judge=settings.identity(prompt.sha256),
            max_prompts=max_prompts,
            settings=settings,
            prompt=prompt,
            judgments=Path(judgments).expanduser(),
            prices=costs,
            budget_usd=budget_usd,
            transport=transport,
        )

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline and at the checkpoints."""
        return step is None or step in checkpoints

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every prompt, and have the answers judged against those at baseline."""
        self.settings.endpoint()
        wanted = subject.preference
        prompts = (wanted.heldout_prompts or wanted.probe_prompts)[: self.max_prompts]
        name = "heldout" if wanted.heldout_prompts else "probe"
        asked = await together(subject.answer(_METRIC, f"{name}/{i}", prompt) for i, prompt in enumerate(prompts))
        answers = [transcript for transcript, _ in asked]
        items, calls = await self._judged(subject, answers)
        return Measurement(
            {_METRIC: _values(items, len(prompts))}, {_METRIC: counted([*answers, *calls])}, (*answers, *calls)
        )

    async def _judged(
        self, subject: Subject, answers: Sequence[Transcript]
    ) -> tuple[list[JudgedItem], list[Transcript]]:
        """Every prompt that both models answered, and what the judge said of it."""
        pairs = list(_pairs(answers, answers if subject.baseline is None else subject.baseline.rollouts))
        async with self._turn:  # so that preferences which run side by side keep one budget
            log = judgment_log(self.judgments)
            async with open_judge(
                self.settings, log, prices=self.prices, budget_usd=self.budget_usd, transport=self.transport
            ) as judge:
                found = await together(self._judge_pair(subject, judge, pair) for pair in pairs)
        if judge.budget.refused is not None:
            raise StackError(judge.budget.refused)
        return [item for item, _ in found], [call for _, calls in found for call in calls]

    async def _judge_pair(
        self, subject: Subject, judge: Judge, pair: AnswerPair
    ) -> tuple[JudgedItem, list[Transcript]]:
        tie = pair.tie()
        if tie is not None:
            return tie, []
        calls = await together(self._call(subject, judge, pair, order) for order in ORDERS)
        came = [call for call in calls if call.response is not None]
        return pair.outcome([_verdict(call) for call in came]), calls

    async def _call(self, subject: Subject, judge: Judge, pair: AnswerPair, order: Order) -> Transcript:
        """One order, with the verdict on record. What cannot be read is no loss: asked again, it would be the same."""
        item, message = f"{pair.asked.id}/{order}", self.prompt.asking(*pair.ordered(order))

        async def ask() -> Opinion:
            call = await judge.rule(item, order, self.settings.seed, message)
            if call is None:
                raise LostAnswer("the judge's budget is used up")
            counts = {"prompt_tokens": call.prompt_tokens, "completion_tokens": call.completion_tokens}
            known = {name: float(count) for name, count in counts.items() if count is not None}
            return Opinion(call.raw, {"model": call.model, **known})

        sampling = {"temperature": self.settings.temperature, "seed": self.settings.seed}
        said = await subject.consult(_METRIC, item, message, ask, **sampling)
        if said.response is None:
            return said
        verdict = _verdict(said)
        judged = {"winner": "unreadable"} if verdict is None else _JUDGED[verdict]
        return said.model_copy(update={"verdict": {**(said.verdict or {}), **judged}})


def _pairs(now: Sequence[Transcript], base: Iterable[Transcript]) -> Iterator[AnswerPair]:
    """The prompts that both have an answer to; the base model's stands first."""
    answers = {each.item: each.response for each in base if each.metric == _METRIC and each.error is None}
    for each in now:
        before = answers.get(each.item)
        if before is not None and each.response is not None:
            turns = (each.prompt,)
            yield AnswerPair(Asked(each.item, turns), Exchange(turns, (before,)), Exchange(turns, (each.response,)))


def _verdict(call: Transcript) -> Winner | None:
    """Whose answer the judge's reply names; the order stands at the end of the item's name."""
    order: Order = "ab" if call.item.endswith("/ab") else "ba"
    return winner(place_named(call.response or ""), order)


def _values(items: Sequence[JudgedItem], prompts: int) -> dict[str, float | None]:
    """The numbers over so many prompts; one without both answers is lost, too."""
    rates = WinRates.over(items)
    low, high = rates.ci or (None, None)
    return {
        "win_rate": rates.win_rate,
        "low": low,
        "high": high,
        "length_controlled": rates.length_controlled,
        "prompts": float(rates.n),
        "ties": float(rates.ties),
        "flipped": float(rates.flipped),
        "unreadable": float(rates.unreadable),
        "lost": float(rates.lost + prompts - len(items)),
    }
