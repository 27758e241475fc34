"""What a metric declares about each number it reports: its title, unit and range, the items it is a mean of, and the
criterion it is judged by.

A metric keeps these declarations beside its code, as `keys`. They are data and nothing else, so that a run can record
them: whatever judges, draws or lists numbers goes by a run's own declarations and knows no metric by name. How an item
gets its value, and how a criterion is estimated, are named functions in `claas.results.evidence` and
`claas.results.estimates`.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)

Range = tuple[float | None, float | None]
"""The lowest and the highest; None leaves that end open."""


class Question(StrEnum):
    """What a number helps to answer, and so the picture that it is drawn in. Criteria are listed in this order."""

    COMPLIANCE = "compliance"
    MARGINS = "margins"
    FORGETTING = "forgetting"
    COLLAPSE = "collapse"
    OTHER = "other"


class Role(StrEnum):
    """The numbers that the answers on a run's page are made of.

    `LEARNED` shows the preference where it was never trained, and is what the list of runs draws; `TRAINED_ON` shows it
    on the prompts that feedback is given on. `FIRST_WISH` is what its user wanted before they changed their mind, where
    what they want now is `LEARNED`. `OVER_APPLIED` is the share of users who asked for the opposite and did
    not get it. `GENERAL` is a score over a few checks, told where no retention was judged.
    """

    LEARNED = "learned"
    TRAINED_ON = "trained_on"
    FIRST_WISH = "first_wish"
    OVER_APPLIED = "over_applied"
    GENERAL = "general"


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


SHARES = ("score", "mean_score", "joint_score", "missed", "mean_missed")
"""Values of an item that are scores in [0, 1], whose mean has Wilson's interval."""


class Items(_Declaration):
    """The items that a number is the mean of: the transcripts of `metric` whose name starts with `prefix`.

    `value` says what an item comes to: its verdict's `score`, or 1 less that (`missed`); the `mean_score`, or
    `mean_missed`, of a question that was asked in several wordings; the `joint_score` of several requests about one
    question; the `margin` in nats of a pair's positive over its negative text; the mean `entropy`,
    `tail_mass` or `self_rouge_l` of a prompt's samples; the `mean_logprob` of a given text; or, as `verdict.words`, any
    number of its verdict. `cluster` is the word for several of them. `flips` names the set in which those that turned
    right or wrong are listed, `title` is that name as people write it; without `flips` the items are not right or
    wrong.
    """

    metric: str
    prefix: str = ""
    value: str = Field(
        default="score",
        pattern=r"^((mean_|joint_)?score|(mean_)?missed|margin|entropy|tail_mass|self_rouge_l|mean_logprob|verdict\.\w+)$",
    )
    cluster: str = "items"
    flips: str | None = None
    title: str | None = None

    def covers(self, metric: str, item: str) -> bool:
        """Whether an item of a metric is one of these."""
        return metric == self.metric and item.startswith(self.prefix)


Relation = Literal[">=", ">", "<"]

Estimator = Literal["share", "mean", "gain", "change", "shift", "ratio", "retention"]


class Criterion(_Declaration):
    """What must hold between an estimate and a threshold when all is well.

    `estimator`: the `share` or the `mean` of what was measured; the `gain`, the mean change from baseline; the
    `change`, that of scores, paired item by item; the `shift`, the size of a change in either direction; the `ratio` of
    the mean to baseline's; the `retention`, the ratio of two shares. `threshold` is the default, which
    `criteria.<name>=...` overrides. `meaning` says in a few words what the threshold asks for, and `formula` what is
    estimated. `drawn_on` is the key whose panel shows the estimates, where that is another one than the key that is
    judged, which then stands among everything else. `alarm` shades the panel's bad side. `note` is what has to be said
    wherever the criterion is judged.
    """

    name: str = Field(pattern=r"^[A-Za-z]\w*$")
    relation: Relation
    threshold: float
    estimator: Estimator
    meaning: str
    formula: str
    title: str | None = None
    drawn_on: str | None = None
    alarm: bool = False
    note: str | None = None

    @property
    def above(self) -> bool:
        """Whether the good side of the threshold is above it."""
        return self.relation != "<"


class Key(_Declaration):
    """One number of a metric, under its dotted key in the records' `eval`.

    `limits` bound what it can be, and `at_baseline` is what it is by definition before training. `better` is the
    direction that is good, None where neither is. `unit` labels the axis, and None leaves the key's own name there;
    `axis` fixes the ends of the axis, and keys of one `scale` share theirs. `line` names another key's criterion whose
    threshold is drawn here, too. With a `heading` it stands in the progress line and in tables, written in the format
    `form`. `alarm` is what the progress line calls out while the bare number is on the bad side of its criterion, or is
    1 for a number without one.
    """

    key: str = Field(pattern=r"^[^.]+(\.[^.]+)?$")
    title: str
    unit: str | None = None
    limits: Range = (None, None)
    better: Literal["higher", "lower"] | None = None
    question: Question = Question.OTHER
    role: Role | None = None
    at_baseline: float | None = None
    axis: Range = (None, None)
    scale: str | None = None
    line: str | None = None
    heading: str | None = None
    form: str = ".2f"
    alarm: str | None = None
    items: Items | None = None
    criterion: Criterion | None = None

    @field_validator("form")
    @classmethod
    def _is_a_format(cls, form: str) -> str:
        format(0.0, form)
        return form

    @model_validator(mode="after")
    def _can_be_estimated(self) -> Self:
        if self.criterion is None:
            return self
        estimator = self.criterion.estimator
        if self.items is None:
            raise ValueError(f"{self.key}: a criterion needs items to be estimated from")
        if estimator in ("share", "change", "retention") and self.items.value not in SHARES:
            raise ValueError(f"{self.key}: a {estimator} is of scores, not of {self.items.value}")
        above = {"shift": False, "change": True, "retention": True}.get(estimator, self.criterion.above)
        if self.criterion.above is not above:
            raise ValueError(f"{self.key}: a {estimator} is not judged by {self.criterion.relation}")
        return self


def judged(keys: Iterable[Key]) -> list[tuple[Key, Criterion]]:
    """The keys that have a criterion, with it, in the order in which criteria are listed."""
    pairs = [(key, key.criterion) for key in keys if key.criterion is not None]
    return sorted(pairs, key=lambda pair: list(Question).index(pair[0].question))


def retained(keys: Iterable[Key]) -> list[tuple[Key, Criterion]]:
    """The keys that are judged by how much of them is kept, with the criterion."""
    return [(key, criterion) for key, criterion in judged(keys) if criterion.estimator == "retention"]


def kept(criterion: str) -> str:
    """What a criterion of retention is about, in a word: `knowledge` of `knowledge_retention`."""
    return criterion.removesuffix("_retention").replace("_", " ")


def sets_of_items(keys: Iterable[Key]) -> list[tuple[Key, Items]]:
    """The keys whose items are right or wrong one by one; what any model should be able to do stands first."""
    pairs = [(key, key.items) for key in keys if key.items is not None and key.items.flips is not None]
    return sorted(pairs, key=lambda pair: pair[0].question is not Question.FORGETTING)


def in_picture(keys: Iterable[Key], question: Question) -> list[Key]:
    """The keys that are drawn in the picture about this question."""
    return [key for key in keys if key.question is question and not (key.criterion and key.criterion.drawn_on)]


def with_role(keys: Iterable[Key], role: Role) -> Key | None:
    """The first key of this role."""
    return next((key for key in keys if key.role is role), None)


def titles(keys: Sequence[Key]) -> dict[str, str]:
    """Criteria and sets of items as people write them, by name; those with no title of their own are absent."""
    of_sets = {items.flips: items.title for _, items in sets_of_items(keys)}
    of_criteria = {criterion.name: criterion.title for _, criterion in judged(keys)}
    return {name: title for name, title in (of_sets | of_criteria).items() if name is not None and title is not None}


@cache
def keys_of_schema_1() -> tuple[Key, ...]:
    """What the keys mean in a run that recorded no declarations, as those of before there were any."""
    text = files("claas.results").joinpath("keys_of_schema_1.json").read_text(encoding="utf-8")
    return tuple(TypeAdapter(list[Key]).validate_json(text))
