"""The canary check across versions: two versions score and answer alike if and only if they have the same weights."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claas.core.text import quoted
from claas.eval.stacks.stack import WrongWeights
from claas.results.records import AdapterVersion, Canary, ChatCheck, Transcript

ROUNDING = 2**-5
"""Two scores by the same weights differ by at most this share of the text's log probability.

A peer that batches as requests come sums in another order each time, and neighbouring bfloat16 numbers lie a 2^-7th
apart: this is four such steps. Stacks that are batch-invariant, like the embedded one, give the same bits. Sampling and
scoring are computed in different ways, so that an answer may differ from its score by as much again, in nats per token.
"""

NEARER = 8
"""An answer that is this many times nearer to another version's scores than to its own version's is that version's."""

_FEWEST_TOKENS = 8
"""Shorter answers are not compared with the scores of other versions."""

_CERTAIN = 1.0
"""Nats below which an answer is so likely that rounding may hide what an update changed."""

_IMPOSSIBLE = -math.log(1e-9)
"""Nats at which the chance that two samples come out the same is one in a thousand million."""


@dataclass(frozen=True)
class _CanaryScore:
    """The canary score of a version. `weights` identifies the weights it should have: its digest, or `_BASE`."""

    adapter: AdapterVersion
    weights: str
    text: str | None
    logprobs: Sequence[float]  # (T,)

    @property
    def model(self) -> str:
        return self.adapter.model

    def alike(self, logprobs: Sequence[float]) -> bool:
        """Whether the per-token differences come to no more than `ROUNDING` of the whole."""
        return _apart(self.logprobs, logprobs) <= ROUNDING * max(_nats_of(self.logprobs), _nats_of(logprobs))


_BASE = "the base model"


class Canaries:
    """The canary scores and answers of all versions in one run, over all preferences.

    Two versions must score the canary alike if and only if they have the same weights. Every version 0 is the base
    model; beyond that, equal digests mean equal weights, so that an update that changed nothing (all gradients zero)
    must leave the score as it was. "Alike" means to within `ROUNDING`, "different" means by any bit: on a peer whose
    rounding varies, weights that should have changed and did not may pass, but no correct version is ever refused.

    The logprobs of a version's answer must be those that it gives when it scores the answer, and not those of another
    version; and different seeds must not give the same answer where its own probabilities leave no chance for that.
    """

    def __init__(self) -> None:
        self._scores: list[_CanaryScore] = []
        self._weights: dict[str, str] = {}  # by the model's name
        self._untrained_digests: set[str] = set()
        self._said_twice: defaultdict[str, float] = defaultdict(float)  # nats, by adapter

    def add(self, adapter: AdapterVersion, canary: Canary | None, measured: Sequence[Transcript] = ()) -> None:
        """Add a version's canary and its measured answers; raises `WrongWeights` if they contradict earlier ones.

        Lost requests are ignored.
        """
        if adapter.version == 0:
            self._untrained_digests.add(adapter.digest)
        weights = _BASE if adapter.digest in self._untrained_digests else adapter.digest
        self._weights[adapter.model] = weights
        if canary is not None and canary.logprobs is not None:
            self._add_score(_CanaryScore(adapter, weights, canary.text, canary.logprobs), canary)
        if canary is not None and canary.chat is not None:
            if canary.chat.scored is not None:
                self._require_own_words(adapter, canary.chat.answers[canary.chat.scored], canary.chat.scores)
            self._require_seeds(adapter, canary.chat)
        if canary is not None and canary.answers:
            answers = {(each.metric, each.item): each for each in reversed(measured) if each.temperature is not None}
            for check in canary.answers:
                if (answer := answers.get((check.metric, check.item))) is not None:
                    self._require_own_words(adapter, answer, check.scores)

    def _add_score(self, score: _CanaryScore, canary: Canary) -> None:
        _require_steady(score, canary.repeat)
        _require_base(score, canary.base)
        comparable = [other for other in self._scores if other.text == score.text]
        nearest_first = sorted(
            comparable,
            key=lambda other: (other.adapter.lora_id != score.adapter.lora_id, -other.adapter.version),
        )
        for other in nearest_first:
            _require_agreement(score, other)
        self._scores.append(score)

    def _require_own_words(
        self, adapter: AdapterVersion, answer: Transcript, scores: Mapping[str, Sequence[float]]
    ) -> None:
        """Check that an answer has its own version's scores, not those of the version before or of the base model.

        Scores are of its tokens up to the first that cannot be read again.
        """
        own = scores.get(adapter.model)
        if own is None:
            return
        sampled, weights = (answer.logprobs or [])[: len(own)], self._weights[adapter.model]
        far = _apart(sampled, own)
        for model, score in scores.items():
            if weights == self._weights.get(model, _BASE):
                continue
            if score == own and _nats_of(own) >= _CERTAIN:
                raise WrongWeights(
                    f"{adapter.model} scores an answer of its own exactly as {model} does, though its weights are "
                    "others: either the update has not reached the weights that score, or the numbers are none of a "
                    "model"
                )
            is_clear = len(sampled) >= _FEWEST_TOKENS and is_apart(sampled, own)
            if is_clear and NEARER * _apart(sampled, score) < far:
                raise WrongWeights(f"{_said(adapter, answer)} {model}, and not its own: {_STALE_CHAT}")
        if far > ROUNDING * (max(_nats_of(sampled), _nats_of(own)) + len(own)):
            raise WrongWeights(
                f"{_said(adapter, answer)} {_nats(sampled)}, and scores the same answer {_nats(own)}: {_STALE_CHAT}"
            )

    def _require_seeds(self, adapter: AdapterVersion, chat: ChatCheck) -> None:
        """Check that two seeds do not keep giving the same answer, unless its probability is high enough."""
        one, other = chat.answers
        if None in (one.response, other.response):
            return
        if one.response != other.response or one.tokens != other.tokens:
            self._said_twice[adapter.lora_id] = 0.0
            return
        self._said_twice[adapter.lora_id] += _nats_of(one.logprobs or ())
        if self._said_twice[adapter.lora_id] > _IMPOSSIBLE:
            raise WrongWeights(
                f"{adapter.model} answers {quoted(one.prompt)} under seeds {one.seed} and {other.seed} with the same "
                f"{quoted(one.response or '')}, as versions before it may have; that has a chance of "
                f"{math.exp(-self._said_twice[adapter.lora_id]):.1g} by its own account: what answers ignores seeds, "
                "or a cache answers in its place"
            )


_STALE_CHAT = "other weights answer chat requests under its name than score; is there a cache, or a reload that failed?"

_NOISE = 2**-12
"""Nats per token; sampling and scoring in float32 always differ by less."""


def is_apart(sampled: Sequence[float], scored: Sequence[float]) -> bool:
    """Whether an answer's logprobs and its score differ by more than float32 rounding explains."""
    return _apart(sampled, scored) > _NOISE * len(sampled)


def _said(adapter: AdapterVersion, answer: Transcript) -> str:
    return f"what {adapter.model} answered to {quoted(answer.prompt)} has the log probabilities of"


def _require_steady(score: _CanaryScore, repeat: Sequence[float] | None) -> None:
    if repeat is not None and not score.alike(repeat):
        raise WrongWeights(
            f"{score.model} scored the canary {_nats(score.logprobs)} and, asked again at the same time, "
            f"{_nats(repeat)}: more than one set of weights answers under its name"
        )


def _require_base(score: _CanaryScore, base: Sequence[float] | None) -> None:
    if base is not None and not score.alike(base):
        raise WrongWeights(
            f"{score.model} scores the canary {_nats(score.logprobs)} and the base model {_nats(base)}: a new adapter "
            "answers as its base model, so other weights answer under one of the two names"
        )


def _require_agreement(score: _CanaryScore, other: _CanaryScore) -> None:
    if score.weights == other.weights:
        if not score.alike(other.logprobs):
            raise WrongWeights(
                f"{score.model} scores the canary {_nats(score.logprobs)} and {other.model}, whose weights are the "
                f"same, {_nats(other.logprobs)}: other weights answer under one of the two names"
            )
    elif list(score.logprobs) == list(other.logprobs):
        raise WrongWeights(f"{score.model} scores the canary exactly as {_likely_cause(score, other)}")


def _likely_cause(score: _CanaryScore, other: _CanaryScore) -> str:
    one, version = score.adapter, other.adapter.version
    if one.lora_id == other.adapter.lora_id and version == one.version - 1:
        return (
            f"version {version} did, though its digest is another: the update has not reached the weights that "
            "answer; reload the adapter on the stack, or raise training.learning_rate if updates are too small to show"
        )
    if _BASE in (score.weights, other.weights):
        return f"{other.model} did, and so as the base model: it answers in place of an adapter that has been trained"
    if one.lora_id == other.adapter.lora_id:
        return f"version {version} did, though its digest is another: a stale adapter answers"
    return f"{other.model} did, though its digest is another: one preference's adapter answers for the other's"


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The sum of per-token differences, in nats, between two scores; infinite if they have different lengths."""
    if len(one) != len(other):
        return math.inf
    return math.fsum(abs(a - b) for a, b in zip(one, other, strict=True))


def _nats_of(logprobs: Sequence[float]) -> float:
    return math.fsum(map(abs, logprobs))


def _nats(logprobs: Sequence[float]) -> str:
    return f"{math.fsum(logprobs):.6g} nats"
