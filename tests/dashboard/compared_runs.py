"""Runs made of numbers, as the page that compares runs takes them."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from claas.dashboard.compare_page import ComparedRun
from claas.results.comparison import finals_of
from claas.results.manifest import Manifest
from claas.results.records import History, Metadata
from claas.results.settings import EvalConfig
from claas.results.summary import build_summary
from tests.results.synthetic_runs import World, make_history


def manifest(name: str = "run", **settings: object) -> Manifest:
    config = replace(EvalConfig(preferences=["concise"], num_steps=6).resolved(), **settings)
    return Manifest(
        run_id=name,
        created="2026-01-01T00:00:00+00:00",
        config=asdict(replace(config, output_dir=f"runs/{name}")),
        versions={"claas": "1.0", "torch": "2.0"},
        git_commit="c0ffee",
    )


def metadata(preference: str = "concise", digest: str | None = "same", metrics: str | None = "same") -> Metadata:
    return Metadata(
        preference=preference, lora_id="x", run_id="r", config={}, preference_digest=digest, metrics_digest=metrics
    )


def run_of(name: str, histories: Sequence[History] | None = None, **settings: object) -> ComparedRun:
    """By default one preference in which all went well."""
    histories = [make_history(World())] if histories is None else histories
    names = [history.preference for history in histories]
    config = replace(EvalConfig(preferences=names, num_steps=6).resolved(), **settings)
    return ComparedRun(
        confidence=0.95,
        name=name,
        manifest=manifest(name, preferences=names, **settings),
        summaries=build_summary(name, config, {each.preference: each for each in histories}).preferences,
        metadata={preference: metadata(preference) for preference in names},
        finals={history.preference: finals_of(history, name) for history in histories},
    )
