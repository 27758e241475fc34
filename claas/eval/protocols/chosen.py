"""The protocol that a run asks for, by name, and the tracks that it gives."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import cast

from claas.core.errors import BREAKDOWNS, InvalidInput
from claas.core.text import one_line
from claas.eval.config.catalog import working_directory_importable
from claas.eval.metrics.preference import Preference
from claas.eval.protocols.kinds import flip, isolated, mixed
from claas.eval.protocols.sequential import sequential
from claas.eval.protocols.tracks import Track
from claas.results.run_files import RESERVED
from claas.results.settings import EvalConfig, ProtocolConfig

Protocol = Callable[[EvalConfig, Sequence[Preference]], list[Track]]
"""The tracks of a run. It depends on its arguments alone, so that a run that goes on finds those it began with."""

PROTOCOLS: Mapping[str, Protocol] = {"isolated": isolated, "sequential": sequential, "mixed": mixed, "flip": flip}

_SETTINGS: Mapping[str, frozenset[str]] = {
    "isolated": frozenset({"stages"}),
    "sequential": frozenset({"stages"}),
    "mixed": frozenset(),
    "flip": frozenset({"stages", "steps_before"}),
}
"""What each of them reads of its configuration beside its kind."""


def tracks_of(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """What the protocol of `config` asks for; `InvalidInput` where it cannot be had of these preferences."""
    _require_known_stages(config, preferences)
    kind = config.protocol.kind
    try:
        tracks = protocol_of(kind)(config, preferences)
    except InvalidInput:
        raise
    except BREAKDOWNS as error:  # of somebody's own function
        raise InvalidInput(f"protocol {kind!r} broke down: {type(error).__name__}: {one_line(error)}") from error
    _require_used(config.protocol)
    given = cast(object, tracks)
    if not isinstance(given, list) or not all(isinstance(track, Track) for track in cast(list[object], given)):
        raise InvalidInput(f"protocol {kind!r} must return a list of claas.eval.protocols.tracks.Track, got {given!r}")
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
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidInput(f"protocol {kind!r} cannot be imported: {error}") from error
    if not callable(found):
        raise InvalidInput(f"protocol {kind!r} is {type(found).__name__}, not a function")
    return cast(Protocol, found)


def require_folders_of_their_own(tracks: Sequence[Track]) -> None:
    """`InvalidInput` where two tracks, a control arm being one, would go by one name, or one by that of a file."""
    names = [track.name for track in tracks]
    for name in names:
        if name in RESERVED or "/" in name or names.count(name) > 1:
            raise InvalidInput(
                f"a track cannot be called {name!r}: its files go into a folder of that name, and into no other's; "
                "rename a preference, or leave a control out"
            )


def _require_used(protocol: ProtocolConfig) -> None:
    given = {name for name in ("stages", "steps_before") if getattr(protocol, name)}
    for name in sorted(given - _SETTINGS.get(protocol.kind, given)):
        raise InvalidInput(f"protocol.{name} is no setting of protocol={protocol.kind}; leave it out")


def _require_known_stages(config: EvalConfig, preferences: Sequence[Preference]) -> None:
    names = [each.name for each in preferences]
    for stage in config.protocol.stages:
        if stage not in names:
            raise InvalidInput(f"protocol.stages.{stage}: the run has no such preference; it has {', '.join(names)}")
