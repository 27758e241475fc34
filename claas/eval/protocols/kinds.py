"""The protocols that can be chosen by name: isolated, sequential, mixed and flip."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import cast

from claas.core.errors import InvalidInput
from claas.eval.config.catalog import working_directory_importable
from claas.eval.metrics.across import Across
from claas.eval.metrics.preference import Flipped, Mixture, Preference
from claas.eval.protocols.tracks import Item, Round, Track, feedback_text, in_seeded_order, rounds_of
from claas.results.run_files import RESERVED
from claas.results.settings import EvalConfig

Protocol = Callable[[EvalConfig, Sequence[Preference]], list[Track]]
"""The tracks of a run. It depends on its arguments alone, so that a run that goes on finds those it began with."""


def isolated(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """Every preference on an adapter of its own."""
    return [Track(each.name, each.name, each, rounds_of(each, _steps(config, each), config)) for each in preferences]


def sequential(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """One preference after the other on one adapter; after the last round of each, all the others are measured, too."""
    _require_several(config, preferences)
    tracks: list[Track] = []
    for each in preferences:
        steps = _steps(config, each)
        across = Across(tuple(other for other in preferences if other is not each), at_step=steps - 1)
        tracks.append(Track(each.name, "sequential", each, rounds_of(each, steps, config), {"across": across}))
    return tracks


def mixed(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """All preferences on one adapter at the same time: every round has answers of each, dealt by seed.

    Each answer is to a probe prompt of one preference, and gets the feedback of that one.
    """
    _require_several(config, preferences)
    mixture = Mixture.of(preferences)
    return [Track(mixture.name, mixture.name, mixture, _dealt(config, preferences))]


def flip(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """A preference, and from `steps_before` on its opposite, on the same adapter; every answer is judged by both."""
    tracks: list[Track] = []
    for each in preferences:
        if each.opposite is None:
            raise InvalidInput(
                f"protocol=flip: preference {each.name!r} has no opposite; give its YAML file "
                "opposite: {feedback_string: ..., verifier: {_target_: ...}}"
            )
        steps = _steps(config, each)
        before = config.protocol.steps_before or steps // 2
        if not 0 < before < steps:
            raise InvalidInput(
                f"protocol=flip: with protocol.steps_before={before} and {steps} steps there is no step "
                f"{'before' if before < 1 else 'after'} the flip; num_steps must be greater"
            )
        opposite = [
            tuple(Item(item.prompt, each.opposite.feedback_string) for item in items)
            for items in rounds_of(each, steps, config)[before:]
        ]
        rounds = (*rounds_of(each, before, config), *opposite)
        tracks.append(Track(each.name, each.name, Flipped.of(each, before), rounds))
    return tracks


PROTOCOLS: Mapping[str, Protocol] = {"isolated": isolated, "sequential": sequential, "mixed": mixed, "flip": flip}


def tracks_of(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """What the protocol of `config` asks for; `InvalidInput` where it cannot be had of these preferences."""
    _require_known_stages(config, preferences)
    tracks = protocol_of(config.protocol.kind)(config, preferences)
    names = [track.name for track in tracks]
    for name in names:
        if name in RESERVED or "/" in name or names.count(name) > 1:
            raise InvalidInput(
                f"protocol {config.protocol.kind!r}: a track cannot be called {name!r}: its files go into a folder of "
                "that name, and into no other's"
            )
    if not tracks or not all(track.rounds and all(track.rounds) for track in tracks):
        raise InvalidInput(f"protocol {config.protocol.kind!r} gives no rounds, or rounds of no answer")
    return tracks


def protocol_of(kind: str) -> Protocol:
    """The protocol of that name, or the function of the user's that is called so."""
    if kind in PROTOCOLS:
        return PROTOCOLS[kind]
    module, _, name = kind.rpartition(".")
    if not module:
        close = difflib.get_close_matches(kind, PROTOCOLS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise InvalidInput(
            f"unknown protocol {kind!r}; {hint}known: {', '.join(PROTOCOLS)}, or a function of yours: "
            "my_module.my_protocol"
        )
    try:
        with working_directory_importable():
            found: object = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"protocol {kind!r} cannot be imported: {error}") from error
    if not callable(found):
        raise InvalidInput(f"protocol {kind!r} is {type(found).__name__}, not a function")
    return cast(Protocol, found)


def _steps(config: EvalConfig, preference: Preference) -> int:
    return config.protocol.stages.get(preference.name, config.num_steps)


def _require_several(config: EvalConfig, preferences: Sequence[Preference]) -> None:
    if len(preferences) < 2:
        raise InvalidInput(
            f"protocol={config.protocol.kind} is about several preferences, got {preferences[0].name} alone; name "
            "others in preferences=[...], or leave the protocol at isolated"
        )


def _require_known_stages(config: EvalConfig, preferences: Sequence[Preference]) -> None:
    names = [each.name for each in preferences]
    for stage in config.protocol.stages:
        if stage not in names:
            raise InvalidInput(f"protocol.stages.{stage}: the run has no such preference; it has {', '.join(names)}")


def _dealt(config: EvalConfig, preferences: Sequence[Preference]) -> tuple[Round, ...]:
    """Rounds in which every preference comes once, in a seeded order, before any comes again."""
    asked = dict.fromkeys((each.name for each in preferences), 0)
    rounds: list[Round] = []
    for step in range(config.num_steps):
        items: list[Item] = []
        for place in range(step * config.batch_size, (step + 1) * config.batch_size):
            each = in_seeded_order(preferences, place, config.seed, "mixed", "preference order")
            turn = asked[each.name]
            prompt = in_seeded_order(each.probe_prompts, turn, config.seed, each.name, "prompt order")
            # As many texts of one preference as in a batch of its own come before the next paraphrase.
            said = feedback_text(turn // config.batch_size, each, config.feedback_variation, config.seed)
            items.append(Item(prompt, said))
            asked[each.name] += 1
        rounds.append(tuple(items))
    return tuple(rounds)
