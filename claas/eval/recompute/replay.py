"""A subject that answers from a record: metrics run as they ran then, and no stack is needed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from claas.core.errors import InvalidInput
from claas.eval.metric import Subject
from claas.eval.preference import Preference
from claas.eval.records import AdapterRecord, Baseline, Transcript
from claas.eval.run.preference_run import pinned
from claas.eval.stack import Answer, LostAnswer, Scored, Stack
from claas.eval.types import EvalConfig

_Request = tuple[str, str, bool]
"""Metric, item, and whether an answer was sampled (else a completion was scored)."""


@dataclass(frozen=True)
class Replay(Subject):
    """Each request comes back as its transcript says it did, lost ones lost.

    An answer that the metric itself could not judge then (its transcript has an error beside the response) is lost
    here, too: it was counted as errored, and what hindered the judging cannot be brought back.
    """

    recorded: Mapping[_Request, Transcript] = field(default_factory=dict[_Request, Transcript])

    async def _ask(self, asked: Transcript, seed: int, temperature: float, top_logprobs: int) -> Answer:
        found = self._found(asked)
        return Answer(
            text=found.response or "",
            finish_reason=found.finish_reason or "",
            rollout_id=found.rollout_id or "",
            logprobs=tuple(found.logprobs or ()),
            # A lower bound stands where the stack could not tell the entropy, so it told none.
            mean_entropy=None if found.entropy_is_lower_bound else found.mean_entropy,
            top_logprobs=tuple(tuple(likeliest) for likeliest in found.top_logprobs or ()),
            prompt_tokens=found.prompt_tokens or 0,
            completion_tokens=found.completion_tokens or 0,
            sampled_with=found.sampled_with,
            truncated_prompt_tokens=found.truncated_prompt_tokens,
            tokens=_tokens(found),
        )

    async def _rate(self, asked: Transcript, messages: tuple[Mapping[str, str], ...], completion: str) -> Scored:
        found = self._found(asked)
        return Scored(
            logprobs=tuple(found.logprobs or ()), prompt_tokens=found.prompt_tokens or 0, tokens=_tokens(found)
        )

    def _found(self, asked: Transcript) -> Transcript:
        found = self.recorded.get(_request(asked))
        if found is None:
            raise LostAnswer("the record has no transcript of this request")
        if found.error is not None or found.response is None:
            raise LostAnswer(found.error or "the record has neither an answer nor an error")
        return found


def replay(
    preference: Preference,
    config: EvalConfig,
    adapter: AdapterRecord,
    step: int | None,
    baseline: Baseline | None,
    transcripts: Iterable[Transcript],
) -> Replay:
    """A version under a preference, as these transcripts of its measurement show it."""
    return Replay(
        stack=cast(Stack, _NoStack()),
        adapter=pinned(adapter),
        preference=preference,
        step=step,
        baseline=baseline,
        run_seed=config.seed,
        max_tokens=config.max_tokens,
        recorded={_request(transcript): transcript for transcript in transcripts},
    )


def _request(transcript: Transcript) -> _Request:
    return transcript.metric, transcript.item, transcript.temperature is not None


def _tokens(transcript: Transcript) -> tuple[str, ...] | None:
    return None if transcript.tokens is None else tuple(transcript.tokens)


class _NoStack:
    """Stands where a metric that goes round its subject would find the stack."""

    def __getattr__(self, name: str) -> Any:
        raise InvalidInput(
            f"a metric uses the stack itself ({name}), of which no transcript is kept; let it ask through "
            "Subject.answer and Subject.score, so that its numbers can be recomputed"
        )
