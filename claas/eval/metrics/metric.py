"""The metric interface: the subject that a metric measures, and the measurement that it returns."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import getattr_static
from typing import Any, Protocol, cast

from claas.core.concurrency import together
from claas.core.errors import BREAKDOWNS, InvalidInput
from claas.eval.metrics.preference import Preference
from claas.eval.stacks.stack import (
    Answer,
    Completion,
    CompletionScore,
    Continuation,
    LostAnswer,
    NothingToPredict,
    Reading,
    Stack,
    TokenizedText,
)
from claas.results.keys import Key
from claas.results.records import AdapterVersion, Baseline, Counts, Transcript, Values
from claas.results.settings import EvalConfig
from claas.wire.tokens import room_for_prompt


@dataclass(frozen=True)
class Opinion:
    """The reply of a service beside the stack, such as a judge; `facts` are recorded with it."""

    text: str
    facts: Mapping[str, float | str | bool | None]


def unheard(request: Transcript) -> None:
    """Ignore the request."""


@dataclass(frozen=True)
class Subject:
    """One adapter version under one preference, and a metric's only access to the stack.

    `step` is None at baseline. `baseline` is None while it is being measured, and the finished record afterwards. The
    transcript of a request holds everything that came back, so that a metric that uses nothing else and returns its
    transcripts can be recomputed from the record. `last_answers` are the newest greedy answers of earlier versions, by
    metric and item, used as predictions of this one's. Requests of an `urgent` subject go before those of others.
    `heard` is called with every request once it was answered or lost. A subject that only `counts` gives dummy answers:
    the number of its requests is right, but nothing that it says can be checked.
    """

    stack: Stack
    adapter: AdapterVersion
    preference: Preference
    step: int | None
    baseline: Baseline | None
    run_seed: int
    max_tokens: int
    last_answers: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    urgent: bool = False
    heard: Callable[[Transcript], None] = unheard
    counts: bool = False

    async def answer(
        self,
        metric: str,
        item: str,
        prompt: str,
        *,
        temperature: float = 0.0,
        top_logprobs: int = 0,
        earlier: Sequence[Mapping[str, str]] = (),
    ) -> tuple[Transcript, Answer | None]:
        """Sample one answer to the prompt, after the `earlier` turns of a conversation.

        A lost answer is None, with a transcript that says why.
        """
        seed = seed_for(self.run_seed, self.preference.name, self.step, metric, item)
        asked = Transcript(
            metric=metric,
            item=item,
            prompt=prompt,
            earlier=[dict(turn) for turn in earlier] or None,
            response=None,
            temperature=temperature,
            seed=seed,
        )
        try:
            answer = await self._ask(asked, seed, temperature, top_logprobs)
        except LostAnswer as error:
            return self._ended(asked, {"error": str(error)}), None
        return self._ended(answered(asked, answer)), answer

    async def score(
        self, metric: str, item: str, messages: tuple[Mapping[str, str], ...], completion: str
    ) -> tuple[Transcript, CompletionScore | None]:
        """Score one completion. A lost score is None, with a transcript that says why."""
        asked = Transcript(metric=metric, item=item, prompt=messages[-1]["content"], response=completion)
        try:
            scored = await self._rate(asked, messages, completion)
        except LostAnswer as error:
            return self._ended(asked, {"error": str(error)}), None
        written = {"tokens": _listed(scored.tokens), "logprobs": list(scored.logprobs)}
        counted = {"prompt_tokens": scored.prompt_tokens, "completion_tokens": len(scored.logprobs)}
        return self._ended(asked, written | counted), scored

    async def read(self, metric: str, item: str, text: str, window: int) -> Transcript:
        """Score a text; a lost one says why. The transcript's response is the part that is predicted."""
        asked = Transcript(metric=metric, item=item, prompt="", response=text)
        try:
            reading = await self._look(asked, window)
        except LostAnswer as error:
            return self._ended(asked, {"error": str(error)})
        except NothingToPredict as error:
            raise NothingToPredict(f"{metric}: {item}: {error}; take it out") from error
        split = {"prompt": reading.given, "response": text.removeprefix(reading.given)}
        written = {"tokens": list(reading.tokens), "logprobs": list(reading.logprobs)}
        counted = {"prompt_tokens": reading.context_tokens, "completion_tokens": len(reading.logprobs)}
        return self._ended(asked, split | written | counted)

    async def consult(
        self, metric: str, item: str, prompt: str, ask: Callable[[], Awaitable[Opinion]], **sampling: float | None
    ) -> Transcript:
        """Ask a service beside the stack with the metric's own `ask`; the transcript of a lost opinion says why.

        The opinion's facts become the transcript's verdict. `sampling` are the requested `temperature` and `seed`.
        """
        asked = Transcript(metric=metric, item=item, prompt=prompt, response=None).model_copy(update=sampling)
        try:
            opinion = await self._consult(asked, ask)
        except LostAnswer as error:
            return self._ended(asked, {"error": str(error)})
        return self._ended(asked, {"response": opinion.text, "verdict": dict(opinion.facts)})

    def _ended(self, request: Transcript, with_what: Mapping[str, Any] | None = None) -> Transcript:
        """The transcript of a request that has ended, with its outcome."""
        ended = request.model_copy(update=with_what or {})
        self.heard(ended)
        return ended

    async def _consult(self, asked: Transcript, ask: Callable[[], Awaitable[Opinion]]) -> Opinion:
        """Get an opinion; `LostAnswer` if there is none."""
        return await ask()

    async def score_continuations(
        self, metric: str, items: Sequence[str], prompt: TokenizedText, continuations: Sequence[TokenizedText]
    ) -> list[Transcript]:
        """Score each text as a continuation of `prompt`, one item each; if one is lost all are, and say why."""
        asked = [
            Transcript(metric=metric, item=item, prompt=prompt.text, response=piece.text)
            for item, piece in zip(items, continuations, strict=True)
        ]
        try:
            scored = await self._follow(asked, prompt, continuations)
        except LostAnswer as error:
            return [self._ended(each, {"error": str(error)}) for each in asked]
        return [
            self._ended(
                each,
                {
                    "logprobs": list(found.logprobs),
                    "top_logprobs": [
                        [logprob] if likeliest else []
                        for logprob, likeliest in zip(found.logprobs, found.likeliest, strict=True)
                    ],
                    "prompt_tokens": len(prompt.ids),
                    "completion_tokens": len(found.logprobs),
                },
            )
            for each, found in zip(asked, scored, strict=True)
        ]

    async def complete(
        self, metric: str, item: str, prompt: TokenizedText, *, max_tokens: int, stop: Sequence[str]
    ) -> Transcript:
        """Continue `prompt` greedily as plain text, without a chat template; a lost continuation says why."""
        seed = seed_for(self.run_seed, self.preference.name, self.step, metric, item)
        asked = Transcript(metric=metric, item=item, prompt=prompt.text, response=None, temperature=0.0, seed=seed)
        try:
            written = await self._continue(asked, prompt, max_tokens, stop)
        except LostAnswer as error:
            return self._ended(asked, {"error": str(error)})
        return self._ended(
            asked,
            {
                "response": written.text,
                "finish_reason": written.finish_reason,
                "tokens": list(written.tokens),
                "logprobs": list(written.logprobs),
                "prompt_tokens": len(prompt.ids),
                "completion_tokens": len(written.logprobs),
            },
        )

    async def newest_that_fit(
        self, metric: str, exchanges: Sequence[Sequence[Mapping[str, str]]], prompts: Sequence[str]
    ) -> int:
        """How many of the newest `exchanges` of a conversation fit before each of the prompts.

        Room is left for an answer and for feedback on it. The caller then asks its prompts after that many exchanges.
        """
        alone = await together(self.stack.prompt_size([_said(prompt)]) for prompt in prompts)
        longest = prompts[max(range(len(prompts)), key=lambda place: alone[place].tokens)]
        room = room_for_prompt(alone[0].window, self.max_tokens)

        async def fit(count: int) -> bool:
            turns = [turn for exchange in exchanges[len(exchanges) - count :] for turn in exchange]
            return (await self.stack.prompt_size([*turns, _said(longest)])).tokens <= room

        fits, beyond = 0, 1
        while beyond <= len(exchanges) and await fit(beyond):
            fits, beyond = beyond, 2 * beyond
        beyond = min(beyond, len(exchanges) + 1)
        while beyond - fits > 1:
            between = (fits + beyond) // 2
            fits, beyond = (between, beyond) if await fit(between) else (fits, between)
        return fits

    async def _follow(
        self, asked: Sequence[Transcript], prompt: TokenizedText, continuations: Sequence[TokenizedText]
    ) -> Sequence[Continuation]:
        """Score continuations; `LostAnswer` if that fails."""
        return await self.stack.score_continuations(self.adapter, prompt.ids, continuations)

    async def _continue(
        self, asked: Transcript, prompt: TokenizedText, max_tokens: int, stop: Sequence[str]
    ) -> Completion:
        """Continue a prompt; `LostAnswer` if that fails."""
        assert asked.seed is not None
        return await self.stack.complete(self.adapter, prompt.ids, max_tokens=max_tokens, seed=asked.seed, stop=stop)

    async def _look(self, asked: Transcript, window: int) -> Reading:
        """Read a text; `LostAnswer` if that fails."""
        return await self.stack.read(self.adapter, asked.response or "", window)

    async def _ask(self, asked: Transcript, seed: int, temperature: float, top_logprobs: int) -> Answer:
        """Answer a request; `LostAnswer` if that fails."""
        return await self.stack.answer(
            self.adapter,
            asked.prompt,
            temperature=temperature,
            seed=seed,
            max_tokens=self.max_tokens,
            top_logprobs=top_logprobs,
            earlier=asked.earlier or (),
            prediction="" if temperature else self.last_answers.get((asked.metric, asked.item), ""),
            urgent=self.urgent,
        )

    async def _rate(
        self, asked: Transcript, messages: tuple[Mapping[str, str], ...], completion: str
    ) -> CompletionScore:
        """Score a completion; `LostAnswer` if that fails."""
        return await self.stack.score(self.adapter, messages, completion)


@dataclass(frozen=True)
class Measurement:
    """The result of one metric: values by key, counts of how its requests ended, and the transcripts behind them."""

    values: Values
    counts: Mapping[str, Counts]
    rollouts: tuple[Transcript, ...] = field(default_factory=tuple)


class Metric(Protocol):
    """One question asked of an adapter version.

    An optional attribute `keys`, a tuple of `claas.results.keys.Key`, declares what the metric's numbers mean and
    whether they are judged; without it they are recorded and plotted under their own names. Three more methods are
    optional: `keys_for(preference)` if the keys depend on the preference; `for_run(config)` if what is asked depends on
    the run, which returns the metric to use in it; and `ending_at(step)`, which returns the metric to use in a track
    that ends with that step, before its last planned one.
    """

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """Whether to measure at this step; None is the baseline."""
        ...

    async def measure(self, subject: Subject) -> Measurement:
        """Measure. Lost answers are counted, not raised; `StackError` means the stack is gone."""
        ...


def declared(metric: Metric, preference: Preference | None = None) -> tuple[Key, ...]:
    """The keys that the metric declares, in general or for one preference; empty if it declares none.

    Raises `InvalidInput` if they are malformed, or cannot be computed.
    """
    name, stated = type(metric).__name__, cast(Any, metric)
    try:
        if preference is not None and getattr_static(metric, "keys_for", None) is not None:
            keys = stated.keys_for(preference)
        else:
            keys = () if getattr_static(metric, "keys", None) is None else stated.keys
    except BREAKDOWNS as error:
        raise InvalidInput(f"{name}.keys cannot be read: {type(error).__name__}: {error}") from error
    if not isinstance(keys, tuple | list) or not all(isinstance(key, Key) for key in cast(Sequence[object], keys)):
        raise InvalidInput(f"{name}.keys must be a tuple of claas.results.keys.Key, got {keys!r}")
    return tuple(cast(Sequence[Key], keys))


def for_run(metric: Metric, config: EvalConfig) -> Metric:
    """The metric to use in a run; `InvalidInput` if it cannot be used."""
    if getattr_static(metric, "for_run", None) is None:
        return metric
    return cast(Metric, cast(Any, metric).for_run(config))


def ending_at(metric: Metric, step: int) -> Metric:
    """The metric to use in a track that ends with this step."""
    if getattr_static(metric, "ending_at", None) is None:
        return metric
    return cast(Metric, cast(Any, metric).ending_at(step))


def mean(values: Iterable[float]) -> float | None:
    """The arithmetic mean; None for no values: due, but not measured."""
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None


def difference(one: float | None, other: float | None) -> float | None:
    """`one - other`; None if either is None."""
    return None if one is None or other is None else one - other


def counted(transcripts: Sequence[Transcript]) -> Counts:
    """Counts of how the requests ended; truncated ones are also among the scored."""
    scored = [transcript for transcript in transcripts if transcript.error is None]
    return Counts(
        planned=len(transcripts),
        scored=len(scored),
        errored=len(transcripts) - len(scored),
        truncated=sum(transcript.finish_reason == "length" for transcript in scored),
    )


def _said(prompt: str) -> Mapping[str, str]:
    return {"role": "user", "content": prompt}


def seed_for(run_seed: int, preference: str, step: int | None, purpose: str, item: str) -> int:
    """A 63-bit seed that depends on all arguments and nothing else. `step` None is the baseline."""
    name = f"{run_seed}\x1f{preference}\x1f{'baseline' if step is None else step}\x1f{purpose}\x1f{item}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def answered(asked: Transcript, answer: Answer) -> Transcript:
    """The transcript of a request that was answered."""
    return asked.model_copy(
        update={
            "response": answer.text,
            "finish_reason": answer.finish_reason,
            "rollout_id": answer.rollout_id,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "tokens": _listed(answer.tokens),
            "logprobs": list(answer.logprobs),
            "top_logprobs": [list(likeliest) for likeliest in answer.top_logprobs] or None,
            "mean_entropy": answer.mean_entropy,
            "sampled_with": answer.sampled_with,
            "truncated_prompt_tokens": answer.truncated_prompt_tokens,
        }
    )


def _listed(tokens: Sequence[str] | None) -> list[str] | None:
    return None if tokens is None else list(tokens)
