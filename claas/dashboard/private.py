"""What a run's records say of the machine it ran on, left out of pages that go elsewhere: paths, addresses, keys."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path, PurePath
from typing import Any, cast

from claas.results.run_index import RunIndex
from claas.results.settings import recorded_config

_PLACES = frozenset({"output_dir", "config_dir", "claas_url", "openclaw_url"})
"""Settings that say where something is, and nothing about what was measured."""

_NO_ADDRESS = "https://left-out.invalid"
_PATH = re.compile(r"(?<![\w/:.<])(?:~|[A-Za-z]:)?[/\\](?:[\w.@+ -]+[/\\])+([\w.@+-]+)")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+")
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")
_SHORTEST, _SHORTEST_KEY = 6, 8


@dataclass(frozen=True)
class Private:
    """Texts that no shared page may hold, longest first: a last look, whatever they stand in."""

    texts: tuple[str, ...]

    @classmethod
    def of_this_machine(cls, folders: Iterable[Path]) -> "Private":
        """Where the runs are, where this process and its user are at home, and the keys of its environment."""
        places = [place for folder in folders for place in (folder.resolve().parent, folder.absolute().parent)]
        paths = {str(place) for place in (*places, Path.cwd(), Path.home())}
        keys = {value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _SHORTEST_KEY}
        return cls(tuple(sorted((text for text in paths | keys if len(text) >= _SHORTEST), key=len, reverse=True)))

    def hidden_in(self, html: str) -> str:
        """The page without them."""
        for text in self.texts:
            html = html.replace(text, "…").replace(escape(text), "…")
        return html


def shared_run(run: RunIndex) -> RunIndex:
    """The run with records that say nothing of the machine it ran on; what was measured is the same."""
    values = cast(dict[str, Any], _clean(run.manifest.config))
    manifest = run.manifest.model_copy(
        update={"config": values, "base_source": run.manifest.base_source and _without(run.manifest.base_source)}
    )
    summary = run.summary and run.summary.model_copy(
        update={
            "preferences": {
                name: each.model_copy(
                    update={
                        "failure": each.failure and _without(each.failure),
                        "reason": _without(each.reason),
                        "notes": tuple(map(_without, each.notes)),
                    }
                )
                for name, each in run.summary.preferences.items()
            }
        }
    )
    problems = tuple(_without(problem) for problem in run.problems)
    return replace(run, manifest=manifest, config=recorded_config(values), summary=summary, problems=problems)


def _without(text: str) -> str:
    """A sentence whose paths are their last parts, and whose addresses are left out."""
    return _PATH.sub(r"…/\1", _ADDRESS.sub("(an address)", text))


def _clean(value: object, name: str = "") -> object:
    """Settings without places: those that are one are absent, and a path is its last part."""
    if isinstance(value, dict):
        inside = cast(Mapping[str, object], value)
        return {key: _clean(each, key) for key, each in inside.items() if key not in _PLACES}
    if isinstance(value, list):
        return [_clean(each) for each in cast(list[object], value)]
    if isinstance(value, str) and "://" in value:
        return _NO_ADDRESS
    if isinstance(value, str) and (value.startswith(("/", "~", "./", "../")) or re.match(r"[A-Za-z]:[/\\]", value)):
        return PurePath(value.replace("\\", "/")).name or "."
    return value
