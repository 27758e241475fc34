"""The canary: one fixed text that every measured version scores, so that no other weights can answer in its place.

A name and a digest are what a server says of itself; what it computes with shows in its numbers alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from claas.core.concurrency import together
from claas.core.errors import StackError
from claas.eval.metrics.metric import Subject
from claas.eval.run.measuring import allowed_share
from claas.eval.stacks.stack import ServedBase, WrongWeights
from claas.results.records import AdapterVersion, Canary

PROMPT = ({"role": "user", "content": "What is the sea?"},)
COMPLETION = "The sea is salt water. It covers most of the Earth and is full of life."

ROUNDING = 2**-5
"""Two scores by the same weights differ by at most this share of the text's log probability.

A peer that batches as requests come sums in another order each time, and neighbouring bfloat16 numbers lie a 2^-7th
apart: this is four such steps. Stacks that are batch-invariant, like the embedded one, give the same bits.
"""


async def score_canary(subject: Subject, base_model: str) -> Canary:
    """Score the canary twice with the subject's version and, at baseline, once with the base model."""
    scorers = [subject, subject]
    if subject.step is None:
        scorers.append(replace(subject, adapter=ServedBase(name=base_model)))
    asked = await together(
        scorer.score("canary", str(index), PROMPT, COMPLETION) for index, scorer in enumerate(scorers)
    )
    scores = [None if scored is None else list(scored.logprobs) for _, scored in asked]
    of_version = [score for score in scores[:2] if score is not None]
    return Canary(
        logprobs=of_version[0] if of_version else None,
        repeat=of_version[1] if len(of_version) == 2 else None,
        base=scores[2] if len(scores) == 3 else None,
        error=next((transcript.error for transcript, _ in asked if transcript.error is not None), None),
    )


def require_canary(where: str, canary: Canary, fail_on_error: bool | float, *, baseline: bool) -> None:
    """Raise `StackError` when so much of the canary was lost that nothing shows which weights were measured.

    `fail_on_error` of False or 1 goes on without: the record then says that the canary is missing, and why.
    """
    needed = [canary.logprobs, canary.base] if baseline else [canary.logprobs]
    if None in needed and allowed_share(fail_on_error) < 1:
        raise StackError(
            f"{where}: the canary was lost, without which nothing shows which weights answer: {canary.error}; nothing "
            "was recorded, so that a resumed run measures it again"
        )


@dataclass(frozen=True)
class _CanaryScore:
    """What a version scored. `weights` says which weights it should answer with: its digest, or `_BASE`."""

    adapter: AdapterVersion
    weights: str
    logprobs: Sequence[float]  # (T,)

    @property
    def model(self) -> str:
        return self.adapter.model

    def alike(self, logprobs: Sequence[float]) -> bool:
        """Whether the per-token differences come to no more than `ROUNDING` of the whole."""
        if len(self.logprobs) != len(logprobs):
            return False
        apart = math.fsum(abs(a - b) for a, b in zip(self.logprobs, logprobs, strict=True))
        return apart <= ROUNDING * max(math.fsum(map(abs, self.logprobs)), math.fsum(map(abs, logprobs)))


_BASE = "the base model"


class Canaries:
    """What the versions of one run scored, all preferences together.

    The law: two versions score the canary alike if they have the same weights, and only then. Versions 0 all are the
    base model. Beyond that the digest says what the weights are, so that an update that changed nothing (all gradients
    zero) must leave the score as it was. Alike means to within `ROUNDING`, different means by any bit: on a peer whose
    rounding varies, weights that should have changed and have not may pass, while no right version is ever refused.
    """

    def __init__(self) -> None:
        self._scores: list[_CanaryScore] = []
        self._untrained_digests: set[str] = set()

    def add(self, adapter: AdapterVersion, canary: Canary | None) -> None:
        """Take a version's score; `WrongWeights` says how it contradicts itself or another. A lost one says nothing."""
        if adapter.version == 0:
            self._untrained_digests.add(adapter.digest)
        if canary is None or canary.logprobs is None:
            return
        weights = _BASE if adapter.digest in self._untrained_digests else adapter.digest
        score = _CanaryScore(adapter, weights, canary.logprobs)
        _require_steady(score, canary.repeat)
        _require_base(score, canary.base)
        nearest_first = sorted(
            self._scores, key=lambda other: (other.adapter.lora_id != adapter.lora_id, -other.adapter.version)
        )
        for other in nearest_first:
            _require_agreement(score, other)
        self._scores.append(score)


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


def _nats(logprobs: Sequence[float]) -> str:
    return f"{math.fsum(logprobs):.6g} nats"
