"""What a run's records say of the machine it ran on, left out of pages that go elsewhere: paths, addresses, keys."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path, PurePath
from typing import Any, cast

from claas.core.redaction import known_secrets, without_secrets
from claas.results.run_index import RunIndex
from claas.results.settings import recorded_config

_PLACES = frozenset({"output_dir", "config_dir", "claas_url", "openclaw_url", "logger"})
"""Settings that say where something is, or belong to somebody's account, and nothing about what was measured."""

_SHORTEST = 6
_NO_ADDRESS = "https://left-out.invalid"
_PATH = re.compile(r"(?<![\w/:.<])(?:~|[A-Za-z]:)?[/\\](?:[\w.@+ -]+[/\\])+([\w.@+-]+)")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+")


@dataclass(frozen=True)
class Private:
    """Texts that no shared page may hold, longest first: a last look, whatever they stand in.

    A folder of a short name is one only where a path begins with it, so that `/w` is hidden in `/w/runs` and in no
    other word. What is private and short otherwise, such as a host or a key, is hidden by the field that it stands in
    (`shared_run`, `shared_message`).
    """

    folders: tuple[str, ...]
    keys: tuple[str, ...]

    @classmethod
    def of_this_machine(cls, folders: Iterable[Path]) -> "Private":
        """Where the runs are, where this process and its user are at home, and the keys that are known here."""
        places = [place for folder in folders for place in (folder.resolve().parent, folder.absolute().parent)]
        paths = {str(place) for place in (*places, Path.cwd(), Path.home())} - {"/"}
        return cls(tuple(sorted(paths, key=len, reverse=True)), tuple(known_secrets()))

    def hidden_in(self, html: str) -> str:
        """The page without them."""
        for text in (*self.keys, *self.folders):
            for form in (text, escape(text)):
                is_word = len(text) < _SHORTEST
                html = (
                    re.sub(rf"(?<![\w/:.<]){re.escape(form)}(?![\w.-])", "…", html)
                    if is_word
                    else html.replace(form, "…")
                )
        return html


def shared_run(run: RunIndex) -> RunIndex:
    """The run with records that say nothing of the machine it ran on; what was measured is the same."""
    values = cast(dict[str, Any], _clean(run.manifest.config))
    manifest = run.manifest.model_copy(
        update={"config": values, "base_source": run.manifest.base_source and shared_message(run.manifest.base_source)}
    )
    summary = run.summary and run.summary.model_copy(
        update={
            "preferences": {
                name: each.model_copy(
                    update={
                        "failure": each.failure and shared_message(each.failure),
                        "reason": shared_message(each.reason),
                        "notes": tuple(map(shared_message, each.notes)),
                    }
                )
                for name, each in run.summary.preferences.items()
            }
        }
    )
    problems = tuple(shared_message(problem) for problem in run.problems)
    return replace(run, manifest=manifest, config=recorded_config(values), summary=summary, problems=problems)


def shared_message(text: str) -> str:
    """A sentence whose paths are their last parts, and whose addresses and keys are left out."""
    return _PATH.sub(r"…/\1", _ADDRESS.sub("(an address)", without_secrets(text)))


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
