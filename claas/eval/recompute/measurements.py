"""Numbers held against what their own record leads to: metrics run once more, on the recorded transcripts."""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, TypeGuard, cast

from claas.core.errors import InvalidInput
from claas.eval.metrics.metric import Metric, Opinion, Subject
from claas.eval.metrics.preference import Preference
from claas.eval.protocols.tracks import Track
from claas.eval.run.measuring import measure_all, tokens
from claas.eval.run.step import update_counts
from claas.eval.stacks.stack import (
    Answer,
    Completion,
    CompletionScore,
    Continuation,
    LostAnswer,
    Reading,
    Stack,
    TokenizedText,
)
from claas.results.records import USER, AdapterVersion, Baseline, Counts, StepRecord, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import update_tokens

RELATIVE, ABSOLUTE = 1e-9, 1e-12
"""Numbers agree within these. On the machine that made the record they are equal to the last bit; on another one `exp`
and `log` may differ in it, and a difference of sums carries that on."""

_NOTHING = "nothing"


@dataclass(frozen=True)
class Mismatch:
    """One value that is not what the record itself leads to. `where` is the file and, in a file of lines, the step."""

    where: str
    key: str
    recorded: object
    recomputed: object

    def __str__(self) -> str:
        return f"{self.where}: {self.key}: recorded {_shown(self.recorded)}, recomputed {_shown(self.recomputed)}"


@dataclass
class Agreement:
    """What was checked of one part of a run. `notes` say what could not be, and why that is no disagreement."""

    part: str
    numbers: int = 0
    transcripts: int = 0
    disagreements: list[Mismatch] = field(default_factory=list[Mismatch])
    notes: list[str] = field(default_factory=list[str])

    def compare(self, where: str, key: str, recorded: object, recomputed: object) -> None:
        """Compare two JSON values leaf by leaf. Absent (not due) and null (not measured) are different things."""
        if _is_mapping(recorded) and _is_mapping(recomputed):
            for part in {**recorded, **recomputed}:
                self.compare(where, f"{key}.{part}", recorded.get(part, _NOTHING), recomputed.get(part, _NOTHING))
        elif _is_list(recorded) and _is_list(recomputed) and len(recorded) == len(recomputed):
            for index, (one, other) in enumerate(zip(recorded, recomputed, strict=True)):
                self.compare(where, f"{key}.{index}", one, other)
        else:
            self.numbers += _is_number(recorded) or _is_number(recomputed)
            if not _same(recorded, recomputed):
                self.disagreements.append(Mismatch(where, key, recorded, recomputed))

    def note_unreadable(self, where: str, error: Exception) -> None:
        """A record that cannot be read agrees with nothing."""
        self.disagreements.append(Mismatch(where, "the record", "what cannot be used", f"{_NOTHING} ({error})"))


def _same(one: object, other: object) -> bool:
    if _is_number(one) and _is_number(other):
        return math.isclose(one, other, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    return type(one) is type(other) and one == other


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_mapping(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


def _shown(value: object) -> str:
    text = " ".join(str(value).split()) if value is not None else "null"
    return text if len(text) <= 200 else f"{text[:200]}…"


@dataclass(frozen=True)
class Measurements:
    """Recomputes `eval`, `counts`, `tokens` and verdicts of a track's records. Times cannot be recomputed."""

    track: Track
    metrics: Mapping[str, Metric]
    config: EvalConfig
    agreement: Agreement

    async def check_baseline(self, where: str, record: Baseline) -> None:
        """Version 0."""
        subject = replay(self.track.preference, self.config, record.adapter, None, None, record.rollouts)
        await self._check(where, record, subject, record.rollouts, {})

    async def check_step(self, where: str, record: StepRecord, baseline: Baseline) -> None:
        """The version a step made; its first transcripts are of the batch that it was trained on."""
        size = len(self.track.rounds[record.step])
        heard = [rollout for rollout in record.rollouts if rollout.metric == USER]
        sampled, measured = record.rollouts[:size], record.rollouts[size + len(heard) :]
        subject = replay(self.track.preference, self.config, record.adapter, record.step, baseline, measured)
        await self._check(
            where, record, subject, measured, update_counts(sampled, heard, record.sdpo_metrics, record.lost_metrics)
        )

    async def _check(
        self,
        where: str,
        record: Baseline | StepRecord,
        subject: Subject,
        measured: Sequence[Transcript],
        sample_counts: Mapping[str, Counts],
    ) -> None:
        track = self.track
        if isinstance(record, StepRecord) and record.fell_silent:
            track = track.ending_after(record.step + 1)
        due = track.metrics_at(subject.step, self.metrics, self.config)
        again = await measure_all(due, subject, track.checkpoints(self.config))
        compare = self.agreement.compare
        compare(where, "eval", record.eval, again.values)
        compare(where, "counts", _plain(record.counts), _plain({**sample_counts, **again.counts}))
        trained = update_tokens(record.sdpo_metrics) if isinstance(record, StepRecord) else {}
        compare(where, "tokens", record.tokens, tokens(record.rollouts) | trained)
        self.agreement.transcripts += len(record.rollouts)
        compare_transcripts(self.agreement, where, measured, again.rollouts)


def compare_transcripts(
    agreement: Agreement, where: str, recorded: Sequence[Transcript], recomputed: Sequence[Transcript]
) -> None:
    """Compare what was asked, and what was made of the answers; the answers themselves come from the record."""
    before, again = _by_request(recorded), _by_request(recomputed)
    for request in {**before, **again}:
        one, other = before.get(request), again.get(request)
        if one is None or other is None:
            shown = ["no transcript" if side is None else "a transcript" for side in (one, other)]
            agreement.compare(where, f"rollouts.{request}", *shown)
            continue
        agreement.compare(where, f"rollouts.{request}.verdict", one.verdict, other.verdict)
        for name in Transcript.model_fields:
            if name != "verdict" and getattr(one, name) != getattr(other, name):
                agreement.compare(where, f"rollouts.{request}.{name}", getattr(one, name), getattr(other, name))


def _by_request(transcripts: Sequence[Transcript]) -> dict[str, Transcript]:
    """The transcripts by metric and item; a request that was made more than once is numbered."""
    times: Counter[str] = Counter()
    named: dict[str, Transcript] = {}
    for transcript in transcripts:
        name = f"{transcript.metric}/{transcript.item}"
        times[name] += 1
        named[name if times[name] == 1 else f"{name}#{times[name]}"] = transcript
    return named


def _plain(counts: Mapping[str, Counts]) -> dict[str, dict[str, int]]:
    return {name: count.model_dump() for name, count in counts.items()}


_Request = tuple[str, str, bool]
"""Metric, item, and whether an answer was sampled (else a completion was scored)."""


@dataclass(frozen=True)
class Replay(Subject):
    """Each request comes back as its transcript says it did, lost ones lost.

    An answer that the metric itself could not judge then (its transcript has an error beside the response) is lost
    here, too: it was counted as errored, and what hindered the judging cannot be brought back.
    """

    transcripts: Mapping[_Request, Transcript] = field(default_factory=dict[_Request, Transcript])

    async def _ask(self, asked: Transcript, seed: int, temperature: float, top_logprobs: int) -> Answer:
        transcript = self._transcript(asked)
        return Answer(
            text=transcript.response or "",
            finish_reason=transcript.finish_reason or "",
            rollout_id=transcript.rollout_id or "",
            logprobs=tuple(transcript.logprobs or ()),
            # A lower bound stands where the stack could not tell the entropy, so it gave none.
            mean_entropy=None if transcript.entropy_is_lower_bound else transcript.mean_entropy,
            top_logprobs=tuple(tuple(likeliest) for likeliest in transcript.top_logprobs or ()),
            prompt_tokens=transcript.prompt_tokens or 0,
            completion_tokens=transcript.completion_tokens or 0,
            sampled_with=transcript.sampled_with,
            truncated_prompt_tokens=transcript.truncated_prompt_tokens,
            tokens=_tokens(transcript),
        )

    async def newest_that_fit(
        self, metric: str, exchanges: Sequence[Sequence[Mapping[str, str]]], prompts: Sequence[str]
    ) -> int:
        """As many as its transcripts have before their prompts."""
        found = max((len(each.earlier or ()) for (of, *_), each in self.transcripts.items() if of == metric), default=0)
        sizes = accumulate(map(len, reversed(exchanges)), initial=0)
        return next((count for count, turns in enumerate(sizes) if turns == found), 0)

    async def _rate(
        self, asked: Transcript, messages: tuple[Mapping[str, str], ...], completion: str
    ) -> CompletionScore:
        transcript = self._transcript(asked)
        return CompletionScore(
            logprobs=tuple(transcript.logprobs or ()),
            prompt_tokens=transcript.prompt_tokens or 0,
            tokens=_tokens(transcript),
        )

    async def _look(self, asked: Transcript, window: int) -> Reading:
        transcript = self._transcript(asked)
        return Reading(
            given=transcript.prompt,
            tokens=tuple(transcript.tokens or ()),
            logprobs=tuple(transcript.logprobs or ()),
            context_tokens=transcript.prompt_tokens or 0,
            digest=self.adapter.digest,
        )

    async def _consult(self, asked: Transcript, ask: Callable[[], Awaitable[Opinion]]) -> Opinion:
        transcript = self._transcript(asked)
        return Opinion(transcript.response or "", transcript.verdict or {})

    async def _follow(
        self, asked: Sequence[Transcript], prompt: TokenizedText, continuations: Sequence[TokenizedText]
    ) -> list[Continuation]:
        return [
            Continuation(logprobs=tuple(each.logprobs or ()), likeliest=tuple(map(bool, each.top_logprobs or ())))
            for each in map(self._transcript, asked)
        ]

    async def _continue(
        self, asked: Transcript, prompt: TokenizedText, max_tokens: int, stop: Sequence[str]
    ) -> Completion:
        transcript = self._transcript(asked)
        return Completion(
            text=transcript.response or "",
            finish_reason=transcript.finish_reason or "",
            tokens=tuple(transcript.tokens or ()),
            logprobs=tuple(transcript.logprobs or ()),
        )

    def _transcript(self, asked: Transcript) -> Transcript:
        transcript = self.transcripts.get(_request(asked))
        if transcript is None:
            raise LostAnswer("the record has no transcript of this request")
        if transcript.error is not None or transcript.response is None:
            raise LostAnswer(transcript.error or "the record has neither an answer nor an error")
        return transcript


def replay(
    preference: Preference,
    config: EvalConfig,
    adapter: AdapterVersion,
    step: int | None,
    baseline: Baseline | None,
    transcripts: Iterable[Transcript],
) -> Replay:
    """A version under a preference, as these transcripts of its measurement show it."""
    return Replay(
        stack=cast(Stack, _NoStack()),
        adapter=adapter,
        preference=preference,
        step=step,
        baseline=baseline,
        run_seed=config.seed,
        max_tokens=config.max_tokens,
        transcripts={_request(transcript): transcript for transcript in transcripts},
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
