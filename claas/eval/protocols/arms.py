"""Arms: is it the feedback that did it, or any update? Is it better than to keep the feedback in the prompt?

An arm is a rule by which the rounds of a protocol are told. The run has one; every control is another life of the same
track under its own rule, asked the same prompts with the same seeds.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from claas.core.errors import InvalidInput
from claas.core.hindsight import with_hindsight
from claas.core.settings import SFT
from claas.eval.metrics.metric import Metric, declared
from claas.eval.metrics.preference import Flipped, Preference
from claas.eval.protocols.in_context import InContext, InContextHistory
from claas.eval.protocols.tracks import Item, Round, Track
from claas.results.keys import Role
from claas.results.settings import FEEDBACK, IN_CONTEXT, IN_CONTEXT_HISTORY, ISOLATED, UNTRAINED, EvalConfig

NEUTRAL = "Thanks, that was a great answer."
"""Praise: feedback that asks for nothing."""


Other = Callable[[Track], Preference]
"""Gives a preference that the adapter of a track is never taught."""


def with_arms(config: EvalConfig, tracks: Sequence[Track], metrics: Mapping[str, Metric], other: Other) -> list[Track]:
    """The tracks under the rule of `config.arm`, and beside them those of `config.controls`.

    `InvalidInput` where an arm is unknown, or a control cannot be compared with what is run.
    """
    _require_known("arm", [config.arm], ARMS)
    _require_known("control", config.controls, [*UNTRAINED, *_TRAINED])
    trained = config.trained_controls
    _require_comparable(config, tracks, metrics, trained)
    beside = [_beside(_TRAINED[name](track, config, other), name) for track in tracks for name in trained]
    run = [replace(ARMS[config.arm](track, config, other), arm=config.arm) for track in tracks]
    return [*(_with_untrained(track, config, tracks, metrics) for track in run), *beside]


def measured_of(track: Track, metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of a track: of a control those alone that it is compared by, compliance and what should be kept."""
    if track.control_of is None:
        return {**metrics, **track.metrics}
    return {name: metric for name, metric in metrics.items() if _is_compared(metric, track.preference)}


def feedback(track: Track, config: EvalConfig, other: Other) -> Track:
    """The rounds as the protocol has them."""
    return track


def placebo(track: Track, config: EvalConfig, other: Other) -> Track:
    """Nothing said and nothing trained: what measuring the same weights again shows by itself."""
    return _told(track, None)


def neutral(track: Track, config: EvalConfig, other: Other) -> Track:
    """Praise on every answer: what any update does that asks for nothing."""
    return _told(track, NEUTRAL)


def irrelevant(track: Track, config: EvalConfig, other: Other) -> Track:
    """The feedback of another preference on the same answers: what feedback does that does not fit them."""
    return _told(track, other(track).feedback_string)


def off_policy(track: Track, config: EvalConfig, other: Other) -> Track:
    """The same feedback, on answers of the base model: what learning from one's own newest answers adds."""
    return replace(track, samples_base=True)


def sft(track: Track, config: EvalConfig, other: Other) -> Track:
    """The teacher's own answers, learned as they are: what SDPO adds to imitating the model that has the feedback."""
    rounds = tuple(tuple(_as_the_teacher(item, config) for item in items) for items in track.rounds)
    return replace(track, rounds=rounds, samples_base=True)


ARMS: Mapping[str, Callable[[Track, EvalConfig, Other], Track]] = {
    FEEDBACK: feedback,
    "placebo": placebo,
    "neutral": neutral,
    "irrelevant": irrelevant,
    "off_policy": off_policy,
    SFT: sft,
}
"""The arms that have a life of their own, by name."""


def isolated(track: Track, config: EvalConfig, other: Other) -> Track:
    """The same rounds on an adapter of its own: what learning after others costs. As an arm that is a protocol."""
    return replace(track, adapter=track.name)


_TRAINED = {**ARMS, ISOLATED: isolated}
"""The controls that are trained."""


def _told(track: Track, said: str | None) -> Track:
    rounds: tuple[Round, ...] = tuple(tuple(replace(item, feedback=said) for item in items) for items in track.rounds)
    return replace(track, rounds=rounds)


def _as_the_teacher(item: Item, config: EvalConfig) -> Item:
    """The prompt that SDPO's teacher sees is asked, and the answer is to the plain one."""
    if item.feedback is None:
        return item
    plain = [{"role": "user", "content": item.prompt}]
    [turn] = with_hindsight(plain, item.feedback, config.training.feedback_repetitions)
    return replace(item, prompt=turn["content"], answers=item.prompt)


def _beside(track: Track, arm: str) -> Track:
    return replace(
        track,
        name=f"{track.name}.{arm}",
        adapter=f"{track.adapter}.{arm}",
        metrics={},
        arm=arm,
        control_of=track.name,
    )


def _require_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    known = list(known)
    for name in names:
        if name in known:
            continue
        if name == ISOLATED:
            raise InvalidInput(f"arm={name} is a control of protocol=sequential; ask for protocol={name}")
        if name in UNTRAINED:
            raise InvalidInput(f"arm={name} trains nothing; ask for it beside the run: controls=[{name}]")
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InvalidInput(f"unknown {what} {name!r}; {hint}known: {', '.join(known)}")


def _require_comparable(
    config: EvalConfig, tracks: Sequence[Track], metrics: Mapping[str, Metric], trained: Sequence[str]
) -> None:
    if config.arm in trained:
        raise InvalidInput(f"controls=[{config.arm}] is what the run itself does, arm={config.arm}; leave it out")
    if ISOLATED in trained and len({track.adapter for track in tracks}) == len(tracks):
        raise InvalidInput(
            f"controls=[{ISOLATED}] is beside protocol=sequential; with protocol={config.protocol.kind} every track "
            "has an adapter of its own"
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


def _with_untrained(track: Track, config: EvalConfig, planned: Sequence[Track], metrics: Mapping[str, Metric]) -> Track:
    """The track with the controls that train nothing among its metrics, where it can be compared with them."""
    if not (_knows_compliance(track, metrics) and track.preference.heldout_prompts):
        return track
    if isinstance(track.preference, Flipped):
        return track
    beside: dict[str, Metric] = {IN_CONTEXT: InContext()}
    if IN_CONTEXT_HISTORY in config.controls:
        beside[IN_CONTEXT_HISTORY] = InContextHistory(_said_until(track, planned), config.temperature)
    chosen = {name: metric for name, metric in beside.items() if name in config.controls}
    return replace(track, metrics={**track.metrics, **chosen})


def _said_until(track: Track, planned: Sequence[Track]) -> tuple[tuple[str, str], ...]:
    """Prompts and feedback of every round of the protocol that the adapter has had when the track ends."""
    names = [each.name for each in planned]
    until = [each for each in planned[: names.index(track.name) + 1] if each.adapter == track.adapter]
    items = [item for each in until for items in each.rounds for item in items]
    return tuple((item.prompt, item.feedback) for item in items if item.feedback is not None)
