"""The canary: one fixed text that every measured version scores, so that no other weights can answer in its place.

A name and a digest are what a server says of itself; what it computes with shows in its numbers alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from claas.core.checks import versioned_name
from claas.core.concurrency import together
from claas.core.errors import StackError
from claas.eval.metrics.metric import Subject
from claas.eval.run.measuring import allowed_share
from claas.eval.stacks.stack import Adapter, WrongWeights
from claas.results.records import AdapterRecord, Canary

PROMPT = ({"role": "user", "content": "What is the sea?"},)
COMPLETION = "The sea is salt water. It covers most of the Earth and is full of life."

ROUNDING = 2**-5
"""Two scores by the same weights differ by at most this share of the text's log probability.

A peer that batches as requests come sums in another order each time, and neighbouring bfloat16 numbers lie a 2^-7th
apart: this is four such steps. Stacks that are batch-invariant, like the embedded one, give the same bits.
"""


async def sing(subject: Subject, base: Adapter) -> Canary:
    """Score the canary twice with the subject's version and, at baseline, once with the base model `base`."""
    singers = [subject, subject]
    if subject.step is None:
        singers.append(replace(subject, adapter=base))
    sung = await together(
        singer.score("canary", str(index), PROMPT, COMPLETION) for index, singer in enumerate(singers)
    )
    scores = [None if scored is None else list(scored.logprobs) for _, scored in sung]
    came = [score for score in scores[:2] if score is not None]
    return Canary(
        logprobs=came[0] if came else None,
        repeat=came[1] if len(came) == 2 else None,
        base=scores[2] if len(scores) == 3 else None,
        error=next((transcript.error for transcript, _ in sung if transcript.error is not None), None),
    )


def require_sung(where: str, canary: Canary, fail_on_error: bool | float, *, baseline: bool) -> None:
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
class _Sung:
    """A version's score. `weights` is what it answers with: its digest, or `_BASE`."""

    model: str
    lora_id: str
    version: int
    weights: str
    logprobs: Sequence[float]  # (T,)


_BASE = "the base model"


class Canaries:
    """What the versions of one run scored, all preferences together.

    The law: two versions score the canary alike if they have the same weights, and only then. Versions 0 all are the
    base model. Beyond that the digest says what the weights are, so that an update that changed nothing (all gradients
    zero) must leave the score as it was. Alike means to within `ROUNDING`, different means by any bit: on a peer whose
    rounding varies, weights that should have changed and have not may pass, while no right version is ever refused.
    """

    def __init__(self) -> None:
        self._sung: list[_Sung] = []
        self._untrained: set[str] = set()

    def add(self, adapter: AdapterRecord, canary: Canary | None) -> None:
        """Take a version's score; `WrongWeights` says how it contradicts itself or another. A lost one says nothing."""
        if adapter.version == 0:
            self._untrained.add(adapter.digest)
        if canary is None or canary.logprobs is None:
            return
        sung = self._of(adapter, canary.logprobs)
        _require_steady(sung, canary.repeat)
        _require_base(sung, canary.base)
        for other in sorted(self._sung, key=lambda other: (other.lora_id != sung.lora_id, -other.version)):
            _require_agreement(sung, other)
        self._sung.append(sung)

    def _of(self, adapter: AdapterRecord, logprobs: Sequence[float]) -> _Sung:
        weights = _BASE if adapter.version == 0 or adapter.digest in self._untrained else adapter.digest
        model = versioned_name(adapter.lora_id, adapter.version)
        return _Sung(model, adapter.lora_id, adapter.version, weights, logprobs)


def _require_steady(sung: _Sung, repeat: Sequence[float] | None) -> None:
    if repeat is not None and not _alike(sung.logprobs, repeat):
        raise WrongWeights(
            f"{sung.model} scored the canary {_nats(sung.logprobs)} and, asked again at the same time, "
            f"{_nats(repeat)}: more than one set of weights answers under its name"
        )


def _require_base(sung: _Sung, base: Sequence[float] | None) -> None:
    if base is not None and not _alike(sung.logprobs, base):
        raise WrongWeights(
            f"{sung.model} scores the canary {_nats(sung.logprobs)} and the base model {_nats(base)}: a new adapter "
            "answers as its base model, so other weights answer under one of the two names"
        )


def _require_agreement(sung: _Sung, other: _Sung) -> None:
    if sung.weights == other.weights:
        if not _alike(sung.logprobs, other.logprobs):
            raise WrongWeights(
                f"{sung.model} scores the canary {_nats(sung.logprobs)} and {other.model}, whose weights are the same, "
                f"{_nats(other.logprobs)}: other weights answer under one of the two names"
            )
    elif list(sung.logprobs) == list(other.logprobs):
        raise WrongWeights(f"{sung.model} scores the canary exactly as {_likely_cause(sung, other)}")


def _likely_cause(sung: _Sung, other: _Sung) -> str:
    if sung.lora_id == other.lora_id and other.version == sung.version - 1:
        return (
            f"version {other.version} did, though its digest is another: the update has not reached the weights that "
            "answer; reload the adapter on the stack, or raise training.learning_rate if updates are too small to show"
        )
    if _BASE in (sung.weights, other.weights):
        return f"{other.model} did, and so as the base model: it answers in place of an adapter that has been trained"
    if sung.lora_id == other.lora_id:
        return f"version {other.version} did, though its digest is another: a stale adapter answers"
    return f"{other.model} did, though its digest is another: one preference's adapter answers for the other's"


def _alike(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the per-token differences come to no more than `ROUNDING` of the whole."""
    if len(one) != len(other):
        return False
    apart = math.fsum(abs(a - b) for a, b in zip(one, other, strict=True))
    return apart <= ROUNDING * max(math.fsum(map(abs, one)), math.fsum(map(abs, other)))


def _nats(logprobs: Sequence[float]) -> str:
    return f"{math.fsum(logprobs):.6g} nats"
