"""Control arms: is it the feedback that did it, or any update? Is it better than to keep the feedback in the prompt?

Each is asked the same prompts with the same seeds as the track that it is a control of.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.eval.metrics.compliance import judged, mean_score
from claas.eval.metrics.metric import Measurement, Metric, Subject, counted, declared
from claas.eval.metrics.preference import Flipped, Mixture, Preference
from claas.eval.protocols.tracks import Round, Track
from claas.results.effects import IN_CONTEXT
from claas.results.keys import Items, Key, Question, Role
from claas.results.settings import EvalConfig

NEUTRAL = "Thanks, that was a great answer."
"""Praise: feedback that asks for nothing."""


Other = Callable[[Track], Preference]
"""Gives a preference that a track is not about."""


def with_controls(
    config: EvalConfig, tracks: Sequence[Track], metrics: Mapping[str, Metric], other: Other
) -> list[Track]:
    """The tracks, and those of `config.controls` beside them.

    `InvalidInput` where a control is unknown, or cannot be compared with what is run.
    """
    arms = dict.fromkeys(config.controls)
    for name in arms:
        if name != IN_CONTEXT and name not in _TRAINED:
            known = [IN_CONTEXT, *_TRAINED]
            close = difflib.get_close_matches(name, known, n=1)
            raise InvalidInput(
                f"unknown control {name!r}; {f'did you mean {close[0]}? ' if close else ''}known: {', '.join(known)}"
            )
    trained = [name for name in arms if name in _TRAINED]
    _require_comparable(config, tracks, metrics, trained)
    beside = [_TRAINED[name](track, other) for track in tracks for name in trained]
    if IN_CONTEXT in arms:
        tracks = [_with_in_context(track) if _knows_compliance(track, metrics) else track for track in tracks]
    return [*tracks, *beside]


def measured_of(track: Track, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of a track: of a control those alone that it is compared by, compliance and what should be kept."""
    if track.control_of is None:
        return {**metrics, **track.metrics}
    return {name: metric for name, metric in metrics.items() if _is_compared(metric, track.preference)}


def placebo(track: Track, other: Other) -> Track:
    """Nothing said and nothing trained: what measuring the same weights again shows by itself."""
    return _told(track, "placebo", None)


def neutral(track: Track, other: Other) -> Track:
    """Praise on every answer: what any update does that asks for nothing."""
    return _told(track, "neutral", NEUTRAL)


def irrelevant(track: Track, other: Other) -> Track:
    """The feedback of another preference on the same answers: what feedback does that does not fit them."""
    return _told(track, "irrelevant", other(track).feedback_string)


def off_policy(track: Track, other: Other) -> Track:
    """The same feedback, on answers of the base model: what learning from one's own newest answers adds."""
    return replace(_beside(track, "off_policy", track.rounds), samples_base=True)


_TRAINED: Mapping[str, Callable[[Track, Other], Track]] = {
    "placebo": placebo,
    "neutral": neutral,
    "irrelevant": irrelevant,
    "off_policy": off_policy,
}


def _told(track: Track, arm: str, feedback: str | None) -> Track:
    rounds = tuple(tuple(replace(item, feedback=feedback) for item in items) for items in track.rounds)
    return _beside(track, arm, rounds)


def _beside(track: Track, arm: str, rounds: tuple[Round, ...]) -> Track:
    name = f"{track.name}.{arm}"
    return replace(track, name=name, adapter=name, rounds=rounds, metrics={}, arm=arm, control_of=track.name)


def _require_comparable(
    config: EvalConfig, tracks: Sequence[Track], metrics: Mapping[str, Metric], trained: Sequence[str]
) -> None:
    shared = len({track.adapter for track in tracks}) < len(tracks)
    if trained and (shared or any(isinstance(track.preference, Flipped) for track in tracks)):
        raise InvalidInput(
            f"controls={trained} cannot be run beside protocol={config.protocol.kind}, whose rounds depend on what was "
            "learned before; run them beside isolated or mixed"
        )
    if trained and not all(_knows_compliance(track, metrics) for track in tracks):
        raise InvalidInput(
            f"controls={trained} are compared by compliance, which metrics={config.metrics} do not measure; add "
            "compliance, or leave them out"
        )


def _knows_compliance(track: Track, metrics: Mapping[str, Metric]) -> bool:
    return any(_is_compliance(metric, track.preference) for metric in metrics.values())


def _is_compliance(metric: Metric, preference: Preference) -> bool:
    return any(key.role in (Role.LEARNED, Role.TRAINED_ON) for key in declared(metric, preference))


def _is_compared(metric: Metric, preference: Preference) -> bool:
    retained = (key.criterion for key in declared(metric, preference))
    return _is_compliance(metric, preference) or any(each and each.estimator == "retention" for each in retained)


def _with_in_context(track: Track) -> Track:
    if isinstance(track.preference, Flipped) or not track.preference.heldout_prompts:
        return track
    return replace(track, metrics={**track.metrics, IN_CONTEXT: InContext()})


@dataclass(frozen=True)
class InContext:
    """`in_context.heldout_compliance`: what the base model does that has the feedback in its prompt.

    The competitor that every user has for free: the feedback stands before each held-out prompt, an empty line between
    them, and nothing is trained. At baseline.
    """

    keys = (
        Key(
            key="in_context.heldout_compliance",
            title="Held-out prompts, feedback in the prompt",
            unit="mean verifier score",
            limits=(0.0, 1.0),
            better="higher",
            question=Question.OTHER,
            axis=(-0.03, 1.03),
            items=Items(metric=IN_CONTEXT, prefix="heldout/", cluster="prompts"),
        ),
    )

    def due(self, step: int | None, collapse_steps: frozenset[int]) -> bool:
        """At baseline: what is trained later has nothing to do with it."""
        return step is None

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every held-out prompt after the feedback."""
        asked = [
            replace(probe, prompt=f"{part.feedback_string}\n\n{probe.prompt}", item=name)
            for part in parts_of(subject.preference)
            for probe in part.held_out()
            for name in [_item(subject.preference, part, probe.item)]
        ]
        answers = await together(judged(subject, IN_CONTEXT, each) for each in asked)
        return Measurement(
            {IN_CONTEXT: {"heldout_compliance": mean_score(answers)}}, {IN_CONTEXT: counted(answers)}, tuple(answers)
        )


def parts_of(preference: Preference) -> Sequence[Preference]:
    """The preferences that a mixture is made of, or the one."""
    return preference.parts if isinstance(preference, Mixture) else [preference]


def _item(whole: Preference, part: Preference, item: str) -> str:
    return item if whole is part else item.replace("heldout/", f"heldout/{part.name}/", 1)
