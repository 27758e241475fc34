"""What a run writes: frozen, closed, versioned records. `None` means due but not measured; not due is absent."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from claas.core.checks import versioned_name
from claas.results.keys import Key, keys_of_schema_1
from claas.wire.feedback import Sampling

SCHEMA_VERSION = 1

SAMPLED = "sample"
"""What transcripts, counts and seeds of the answers are called that feedback is given on."""

USER = "user"
"""What transcripts and counts of the replies are called of a model that plays the user."""

Values: TypeAlias = dict[str, float | dict[str, float | None] | None]
"""Metric values by key, at most two levels deep: `preference_compliance` or `logprob_margin.margin`."""


class Record(BaseModel):
    """Every record: immutable, and an unknown field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def utc_now() -> str:
    """The time as records write it: ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class AdapterVersion(Record):
    """One version of one adapter: 0 is untrained, and `digest` identifies the weights by their content."""

    lora_id: str
    version: int
    digest: str

    @property
    def model(self) -> str:
        """The name by which this very version is asked (`eval-concise@7`)."""
        return versioned_name(self.lora_id, self.version)


class Counts(Record):
    """How a metric's planned measurements ended. `truncated` ones were scored, but hit the token bound."""

    planned: int
    scored: int
    errored: int
    truncated: int = 0


def total_counts(parts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """The counts of several measurements together, metric by metric."""
    totals: dict[str, Counter[str]] = {}
    for part in parts:
        for metric, counts in part.items():
            totals.setdefault(metric, Counter()).update(counts.model_dump())
    return {metric: Counts(**{how: total[how] for how in Counts.model_fields}) for metric, total in totals.items()}


class Transcript(Record):
    """One request of a measurement, with what came back: enough to recompute every number made from it.

    `metric` and `item` say what it was for (`compliance`, `heldout/12`). `earlier` are the turns of the conversation
    before the prompt, None where there were none. `response` is None when the answer was lost,
    and `error` says why; for a scored completion `response` is that completion. `logprobs` (T,) are nats per token,
    and `top_logprobs` (T, K) those of the likeliest tokens, where they were asked for; of a text that was to follow a
    prompt, its own token's where that is the likeliest, and else nothing. `mean_entropy` is over the full
    distribution, nats per token, unless `entropy_is_lower_bound`: then it comes from `top_logprobs`.
    `tokens` (T,) are the texts of the tokens that `logprobs` belong to, as the API spells each one by itself; None in
    records of earlier versions, and through a gateway, which does not tell them. Joined they need not be `response`,
    which is what was said: a token that ends the turn is one of them, special ones and thinking may be missing from
    `response`, and what is part of a character reads as U+FFFD.
    `temperature` and `seed` are what was asked for. `sampled_with` is how the answer was really sampled, where a
    gateway decides that; None means as asked. `truncated_prompt_tokens` were cut from the gateway's prompt.
    `verdict` is what a verifier or checker said: at least `score` in [0, 1] and `passed`. Of a judge's reply it says
    who was preferred, and the judge's own model and tokens; those of one that cannot be read have no score. Of a
    simulated user's it says whether they are `satisfied`, None where that cannot be read, whether the verifier finds
    the preference `violated`, which they are not told, and their model and tokens.
    """

    metric: str
    item: str
    prompt: str
    earlier: list[dict[str, str]] | None = None
    response: str | None = None
    error: str | None = None
    finish_reason: str | None = None
    rollout_id: str | None = None
    temperature: float | None = None
    seed: int | None = None
    sampled_with: Sampling | None = None
    truncated_prompt_tokens: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    tokens: list[str] | None = None
    logprobs: list[float] | None = None
    top_logprobs: list[list[float]] | None = None
    mean_entropy: float | None = None
    entropy_is_lower_bound: bool = False
    verdict: dict[str, float | str | bool | None] | None = None


class SampledBatch(Record):
    """What was sampled for the update of one step, the lost answers too: on the disk until the step is on record."""

    schema_version: int = SCHEMA_VERSION
    step: int
    transcripts: list[Transcript]

    @property
    def answered(self) -> list[Transcript]:
        """The answers that came, which are trained on."""
        return [transcript for transcript in self.transcripts if transcript.error is None]


class ChatCheck(Record):
    """Two answers that one version gave to the same prompt under different seeds, and what scoring says of one of them.

    `answers[scored]` is that one, and `scores` has its tokens' log probabilities (nats) by the model that scored it:
    the version itself, the one before it, and the base model. `scored` is None where neither could be scored token by
    token, and `error` says why.
    """

    answers: tuple[Transcript, Transcript]
    scored: int | None = Field(default=None, ge=0, le=1)
    scores: dict[str, list[float]] = Field(default_factory=dict[str, list[float]])
    error: str | None = None


class RescoredAnswer(Record):
    """What scoring says of one measured answer, the one of this `metric` and `item` in the same record.

    `scores` has the log probabilities (nats) of the answer's tokens by the model that scored it: the version itself
    and, where its score was not the same to the digits, the version before and the base model. `error` says why there
    are none.
    """

    metric: str
    item: str
    scores: dict[str, list[float]] = Field(default_factory=dict[str, list[float]])
    error: str | None = None


class Canary(Record):
    """What one version gave the run's text, scored twice: nats per token (T,), None where it was lost.

    `base` is the base model's score, asked for at version 0 only. `error` says why a score was lost. `text` is None in
    records of earlier versions, when all runs had the same. `chat` and `answers` hold what the version says against
    what it scores, in answers of the canary's own and in one measured answer of each kind; None in records of earlier
    versions, and through a gateway. `prompt_digest` is that of the prompt's tokens; None where the stack does not
    tell.
    """

    text: str | None = None
    logprobs: list[float] | None
    repeat: list[float] | None
    base: list[float] | None = None
    error: str | None = None
    chat: ChatCheck | None = None
    prompt_digest: str | None = None
    answers: list[RescoredAnswer] | None = None


class Baseline(Record):
    """The metrics of version 0, before any training, and the transcripts they came from."""

    schema_version: int = SCHEMA_VERSION
    preference: str
    timestamp: str
    adapter: AdapterVersion
    canary: Canary | None = None
    eval: Values
    counts: dict[str, Counts]
    rollouts: list[Transcript]
    timing_s: dict[str, float]
    tokens: dict[str, int]


class StepRecord(Record):
    """One feedback round: what was said, what was trained, and what the new version measures.

    `adapter` is the version that the step's update made, and that `eval` measures. `prompts`, `responses` and
    `rollout_ids` are of the answers that were trained on. `feedback_given` was said of all of them; it is None where
    that differs, and stands in `feedback_by_answer`. A lost answer appears in `rollouts` with its error.
    `fell_silent`: its user has had nothing to say for so long that it is the last round.
    `lost_metrics` are what the update reported that cannot be, with what stood in its place; None when nothing was.
    """

    schema_version: int = SCHEMA_VERSION
    preference: str
    step: int
    timestamp: str
    adapter: AdapterVersion
    canary: Canary | None = None
    feedback_given: str | None
    feedback_by_answer: list[str] | None = None
    fell_silent: bool = False
    prompts: list[str]
    responses: list[str]
    rollout_ids: list[str]
    sdpo_metrics: dict[str, float]
    lost_metrics: dict[str, str] | None = None
    eval: Values
    counts: dict[str, Counts]
    rollouts: list[Transcript]
    timing_s: dict[str, float]
    tokens: dict[str, int]


class Metadata(Record):
    """A preference's place in a run. The digests are sha256 of what the preference and the metrics say, so that a
    changed prompt, pair or capability item is noticed. `notes` say what a reader of the numbers has to know about how
    they were made. `keys` are what the metrics declared of their numbers, None in records of earlier versions.
    """

    schema_version: int = SCHEMA_VERSION
    preference: str
    lora_id: str
    run_id: str
    config: dict[str, Any]
    preference_digest: str | None = None
    metrics_digest: str | None = None
    notes: list[str] = []
    keys: tuple[Key, ...] | None = None


class Status(StrEnum):
    """How far a preference, or a run, has come."""

    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"


def rounds_held(planned: int, steps: Iterable[StepRecord]) -> int:
    """How many rounds there are of those that were planned: fewer where the user fell silent, as the records say."""
    return next((step.step + 1 for step in steps if step.fell_silent), planned)


@dataclass(frozen=True)
class History:
    """One preference's records, in step order. `failure` is why it ended early, None when it did not.

    `planned_steps` are fewer than were planned where its user fell silent (`rounds_held`).
    `keys` are what is declared of its numbers; a number without a declaration is drawn all the same.
    """

    preference: str
    planned_steps: int
    baseline: Baseline | None = None
    steps: tuple[StepRecord, ...] = ()
    failure: str | None = None
    keys: tuple[Key, ...] = field(default_factory=keys_of_schema_1)

    @property
    def status(self) -> Status:
        """Complete once every planned step is recorded."""
        if self.failure is not None:
            return Status.FAILED
        return Status.COMPLETE if len(self.steps) >= self.planned_steps else Status.RUNNING

    @property
    def progress(self) -> str:
        """How far it has come, in words: `running: 5 of 20 steps`."""
        word = "ended" if self.status is Status.FAILED else self.status.value
        return f"{word}: {len(self.steps)} of {self.planned_steps} steps"

    @property
    def fell_silent(self) -> bool:
        """Whether it ended because its user has nothing more to say."""
        return bool(self.steps) and self.steps[-1].fell_silent

    def curve(self, key: str) -> dict[int, float | None]:
        """The measurements under `key` by number of updates: 0 is the baseline, k + 1 what step k made.

        None where it was due and not measured; absent where it was not due.
        """
        metric = key.partition(".")[0]  # a whole metric may be null
        return {updates: values.get(key) for updates, values in self._values if key in values or metric in values}

    def known_keys(self) -> list[str]:
        """Every key measured or due at any time, sorted."""
        return sorted({key for _, values in self._values for key in values})

    def last_due(self, key: str) -> int | None:
        """The latest number of updates at which `key` was due, None when it never was after baseline."""
        return max((updates for updates in self.curve(key) if updates > 0), default=None)

    def rollouts(self, updates: int) -> Sequence[Transcript]:
        """The transcripts of one measurement; none where nothing was measured."""
        record = self._record(updates)
        return record.rollouts if record else ()

    def _record(self, updates: int) -> Baseline | StepRecord | None:
        if updates == 0:
            return self.baseline
        return next((step for step in self.steps if step.step + 1 == updates), None)

    @cached_property
    def _values(self) -> list[tuple[int, dict[str, float | None]]]:
        """What each measurement found under dotted keys, after so many updates: every curve reads all of them."""
        baseline = [(0, flat(self.baseline.eval))] if self.baseline else []
        return [*baseline, *((step.step + 1, flat(step.eval)) for step in self.steps)]


def flat(values: Values) -> dict[str, float | None]:
    """Values under dotted keys: `{"general": {"score": 1}}` is `{"general.score": 1}`."""
    dotted: dict[str, float | None] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            dotted |= {f"{key}.{part}": inner for part, inner in value.items()}
        else:
            dotted[key] = value
    return dotted
