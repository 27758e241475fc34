"""A scripted stack: answers, scores and learns as told, in memory, and remembers what it was asked."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat

from claas.core.checks import versioned_name
from claas.eval.run.canary import ANSWER_TOKENS
from claas.eval.stacks.stack import (
    Answer,
    Completion,
    CompletionScore,
    Continuation,
    LostAnswer,
    PromptSize,
    Reading,
    TokenizedText,
)
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion, utc_now
from claas.wire.feedback import FeedbackItem

Say = Callable[[AdapterVersion, str, int], str]
"""What to answer: (adapter, prompt, seed) -> text."""


@dataclass(frozen=True)
class Asked:
    """One request that reached the stack. `text` is the prompt, the completion or the idempotency key."""

    kind: str  # answer | score | read | continuation | completion | feedback
    adapter: AdapterVersion
    text: str
    temperature: float | None = None
    seed: int | None = None
    top_logprobs: int = 0
    prediction: str = ""
    urgent: bool = False


@dataclass
class FakeStack:
    """Answers `answers[prompt]`, else `say(...)`, else something made up from prompt and seed.

    It scores `scores[completion]`, else -1 nat for each word and for the end of turn. What the canary asks for is said
    and scored by the weights: as the base model at version 0, and otherwise at every other version.
    `shift` nats are added to every token's logprob per version, so that training moves the scores. A prompt or
    completion in `lost` always fails; one in `cut_off` finishes with "length". `entropy` None means: this stack
    cannot tell. `window` is in words. `broken` is raised by the next feedback and then forgotten.
    """

    answers: Mapping[str, str] = field(default_factory=dict[str, str])
    say: Say | None = None
    scores: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    lost: set[str] = field(default_factory=set[str])
    cut_off: set[str] = field(default_factory=set[str])
    shift: float = 0.0
    entropy: float | None = 1.5
    top: tuple[float, ...] = (-0.1, -3.0)
    broken: Exception | None = None
    window: int = 2048
    asked: list[Asked] = field(default_factory=list[Asked])
    adapters: dict[str, AdapterVersion] = field(default_factory=dict[str, AdapterVersion])
    receipts: dict[str, Receipt] = field(default_factory=dict[str, Receipt])

    async def base_source(self) -> str | None:
        return "scripted"

    async def init_adapter(self, lora_id: str, seed: int) -> AdapterVersion:
        """Version 0."""
        return self.adapters.setdefault(lora_id, adapter(lora_id, 0))

    async def newest(self, lora_id: str) -> AdapterVersion:
        """The newest version."""
        return self.adapters[lora_id]

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
        """The scripted answer; one token a word."""
        self.asked.append(Asked("answer", adapter, prompt, temperature, seed, top_logprobs, prediction, urgent))
        if prompt in self.lost:
            raise LostAnswer(f"scripted loss of {prompt!r}")
        made = self.say(adapter, prompt, seed) if self.say else f"Answer {seed % 97} to: {prompt}"
        text = self.answers.get(prompt, made)
        if max_tokens <= ANSWER_TOKENS and temperature == 1.0:
            text = f"{_FOR_THE_CANARY} {text}"
        tokens = len(text.split())
        logprobs = tuple(self._logprobs(adapter, text)[:tokens])
        return Answer(
            text=text,
            finish_reason="length" if prompt in self.cut_off else "stop",
            rollout_id=hashlib.sha256(f"{adapter.model}{prompt}{seed}".encode()).hexdigest()[:12],
            logprobs=logprobs,
            mean_entropy=self.entropy,
            top_logprobs=(self.top,) * tokens if top_logprobs else (),
            prompt_tokens=_words(earlier) + len(prompt.split()),
            completion_tokens=tokens,
            tokens=_tokens(text, len(logprobs)),
        )

    async def prompt_size(self, messages: Sequence[Mapping[str, str]]) -> PromptSize:
        """One token a word."""
        return PromptSize(_words(messages), self.window)

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        """The scripted logprobs."""
        self.asked.append(Asked("score", adapter, completion))
        if completion in self.lost:
            raise LostAnswer(f"scripted loss of {completion!r}")
        logprobs = tuple(self._logprobs(adapter, completion))
        return CompletionScore(logprobs, prompt_tokens=len(messages), tokens=_tokens(completion, len(logprobs)))

    async def read(self, adapter: AdapterVersion, text: str, window: int) -> Reading:
        """The scripted logprobs of all words but the first."""
        self.asked.append(Asked("read", adapter, text))
        if text in self.lost:
            raise LostAnswer(f"scripted loss of {text!r}")
        given, *words = text.split()
        logprobs = tuple(self._logprobs(adapter, text)[: len(words)])
        return Reading(given, tuple(words), logprobs, context_tokens=1, digest=adapter.digest)

    async def score_continuations(
        self, adapter: AdapterVersion, prompt: Sequence[int], continuations: Sequence[TokenizedText]
    ) -> list[Continuation]:
        """The scripted logprobs, one for each token; those above -0.5 are the likeliest ones."""
        self.asked += [Asked("continuation", adapter, each.text) for each in continuations]
        for each in continuations:
            if each.text in self.lost:
                raise LostAnswer(f"scripted loss of {each.text!r}")
        scored = [self.scores.get(each.text, (-1.0,) * len(each.ids)) for each in continuations]
        return [Continuation(each, tuple(logprob > -0.5 for logprob in each)) for each in scored]

    async def complete(
        self, adapter: AdapterVersion, prompt: Sequence[int], *, max_tokens: int, seed: int, stop: Sequence[str]
    ) -> Completion:
        """Something made up from the prompt."""
        self.asked.append(Asked("completion", adapter, str(list(prompt)), 0.0, seed))
        tokens = ("It", "is", str(sum(prompt) % 97))
        return Completion(" ".join(tokens), "stop", tokens, (-1.0,) * len(tokens))

    async def give_feedback(self, adapter: AdapterVersion, items: Sequence[FeedbackItem], key: str) -> Receipt:
        """The next version, once per key."""
        if self.broken is not None:
            failure, self.broken = self.broken, None
            raise failure
        if key not in self.receipts:
            self.asked.append(Asked("feedback", adapter, key))
            made = self.adapters[adapter.lora_id] = next_version(adapter)
            self.receipts[key] = Receipt(
                step=adapter.version,
                key=key,
                timestamp=utc_now(),
                adapter=made,
                sdpo_metrics={"total_loss": 1.0 / made.version},
                stack_ms={"total": 1.0},
                update_s=0.0,
            )
        return self.receipts[key]

    def _logprobs(self, adapter: AdapterVersion, text: str) -> list[float]:
        scripted = self.scores.get(text, (-1.0,) * (len(text.split()) + 1))
        canary = _moved(adapter) if is_canary(text) or text.startswith(_FOR_THE_CANARY) else 0.0
        return [value + self.shift * adapter.version - canary for value in scripted]


_FOR_THE_CANARY = "Well,"


def is_canary(text: str) -> bool:
    """Whether a text is that of a run's canary."""
    return len(text) > 60 and text.count(". ") == 3 and text.endswith(".")


def _words(messages: Sequence[Mapping[str, str]]) -> int:
    return sum(len(turn["content"].split()) for turn in messages)


def _tokens(text: str, count: int) -> tuple[str, ...]:
    """The text's words, and as many ends of a turn as there are numbers beyond them."""
    return tuple(islice(chain(text.split(), repeat("<end>")), count))


def _moved(adapter: AdapterVersion) -> float:
    """Nats by which a version that has been trained scores a token otherwise than its base model."""
    return 0.0 if adapter.version == 0 else int(adapter.digest[:8], 16) / 2**32


def adapter(lora_id: str = "eval/concise", version: int = 0) -> AdapterVersion:
    """A pinned version, its digest made up from its name."""
    digest = hashlib.sha256(versioned_name(lora_id, version).encode()).hexdigest()
    return AdapterVersion(lora_id=lora_id, version=version, digest=digest)


def next_version(made: AdapterVersion) -> AdapterVersion:
    """The version after this one."""
    return adapter(made.lora_id, made.version + 1)
