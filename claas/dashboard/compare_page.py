"""Two or more recorded runs beside each other, as a page."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from claas.core.errors import InvalidInput
from claas.dashboard.charts import Charts, charts_of
from claas.dashboard.differences import (
    NOTHING,
    FlipList,
    InShort,
    KeyTable,
    decimals,
    flip_list,
    in_short,
    key_tables,
    number,
    span,
)
from claas.dashboard.overview import last_measured
from claas.dashboard.pages import Addresses, render
from claas.dashboard.run_index import RunIndex, readable
from claas.results.comparison import Finals, compare, disagreements, finals_of
from claas.results.manifest import MAY_DIFFER, Manifest, flat_settings
from claas.results.records import History, Metadata, Status
from claas.results.statistics import Interval
from claas.results.summary import Summary
from claas.results.verdict import Ruling

_PLACES = frozenset({"output_dir"})
"""Settings that say where a run is, not what it is; they differ in any two runs, and are left out."""

_HARMLESS = MAY_DIFFER | {"lora_id_prefix"}


@dataclass(frozen=True)
class Distinction:
    """One setting, package or commit in which runs differ: its value in each, None where a run does not have it.

    `matters`: it may change what is measured, or what is trained. Criteria change verdicts only, and so do not.
    """

    name: str
    values: tuple[str | None, ...]
    matters: bool


def distinctions(manifests: Sequence[Manifest]) -> list[Distinction]:
    """Everything in which these runs differ, settings first, what matters first among them."""
    settings = [_settings(manifest) for manifest in manifests]
    code = [_code(manifest) for manifest in manifests]
    found = [_distinction(name, settings) for name in _names(settings)] + [
        _distinction(name, code) for name in _names(code)
    ]
    differing = [each for each in found if each is not None]
    return [each for each in differing if each.matters] + [each for each in differing if not each.matters]


def seeds_of_one_configuration(manifests: Sequence[Manifest]) -> list[tuple[int, ...]]:
    """Places of the runs that differ in nothing that matters but their seed, three or more of them together.

    Of runs with the same seed, which are no independent ones, the first counts.
    """
    groups: dict[str, dict[str, int]] = {}
    for place, manifest in enumerate(manifests):
        known = {name: value for name, value in (_settings(manifest) | _code(manifest)).items() if _matters(name)}
        seed = _text(known.pop("seed", None))
        groups.setdefault(json.dumps(known, sort_keys=True), {}).setdefault(seed, place)
    return [tuple(seeds.values()) for seeds in groups.values() if len(seeds) >= 3]


def measured_otherwise(reference: Metadata, other: Metadata) -> list[str]:
    """Why numbers of one preference in two runs are not of the same measurement, or may not be; empty when they are."""
    digests = {
        "the preference's feedback, prompts, pairs or verifier": (reference.preference_digest, other.preference_digest),
        "the metrics, their settings or their items": (reference.metrics_digest, other.metrics_digest),
    }
    differ = [what for what, (one, another) in digests.items() if None not in (one, another) and one != another]
    untold = [what for what, both in digests.items() if None in both]
    return [f"not the same measurement: {what} differ" for what in differ] + [
        f"perhaps not the same measurement: no digest on record says whether {what} are the same" for what in untold
    ]


def _settings(manifest: Manifest) -> dict[str, Any]:
    return {name: value for name, value in flat_settings(manifest.config).items() if name not in _PLACES}


def _code(manifest: Manifest) -> dict[str, Any]:
    return {"git commit": manifest.git_commit} | {
        f"package {name}": version for name, version in manifest.versions.items()
    }


def _names(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for values in runs for name in values))


def _distinction(name: str, runs: Sequence[Mapping[str, Any]]) -> Distinction | None:
    written = {json.dumps(values[name], sort_keys=True) if name in values else None for values in runs}
    if len(written) == 1:
        return None
    return Distinction(name, tuple(_text(run[name]) if name in run else None for run in runs), _matters(name))


def _matters(name: str) -> bool:
    return name.partition(".")[0] not in _HARMLESS


def _text(value: object) -> str:
    """As it is written on the command line, where a text has no quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@dataclass(frozen=True)
class ComparedRun:
    """A run by its folder's `name`, with what is known of each preference; `summary` is None before there is one."""

    name: str
    manifest: Manifest
    confidence: float
    summary: Summary | None
    metadata: Mapping[str, Metadata]
    finals: Mapping[str, Finals]


@dataclass(frozen=True)
class Badge:
    """The verdict on one preference, and how far it came."""

    preference: str
    verdict: str
    steps: str


@dataclass(frozen=True)
class RunHead:
    """The line of one run. `first`: all runs in the order that makes this the reference; `without`: the others."""

    letter: str
    name: str
    model: str
    seed: str
    badges: tuple[Badge, ...]
    first: tuple[str, ...]
    without: tuple[str, ...]


@dataclass(frozen=True)
class CriterionCell:
    """A ruling, written out."""

    verdict: str
    value: str
    interval: str
    threshold: str
    note: str | None


@dataclass(frozen=True)
class PreferenceView:
    """One preference that two runs or more have; `letters` are theirs, the reference first."""

    name: str
    letters: tuple[str, ...]
    warnings: tuple[str, ...]
    keys: tuple[KeyTable, ...]
    criteria: Mapping[str, tuple[CriterionCell | None, ...]]
    flips: tuple[FlipList, ...]


@dataclass(frozen=True)
class CompareView:
    """The page. `names` are the runs' by letter; `alone` says which preferences only one run has, with its letter."""

    confidence: str
    names: Mapping[str, str]
    runs: tuple[RunHead, ...]
    short: tuple[InShort, ...]
    distinctions: tuple[Distinction, ...]
    preferences: tuple[PreferenceView, ...]
    alone: tuple[tuple[str, str], ...]
    comparisons: int


def require_different(names: Sequence[str]) -> None:
    """Raise `InvalidInput` unless these are two or more different runs."""
    if len(names) < 2 or len(set(names)) < len(names):
        raise InvalidInput(f"a comparison needs two or more different runs, got {', '.join(names) or 'none'}")


def compare_view(runs: Sequence[ComparedRun]) -> CompareView:
    """The view of two or more different runs, each against the first; otherwise `InvalidInput`.

    Intervals are at the confidence of the first run's criteria.
    """
    names = [run.name for run in runs]
    require_different(names)
    lettered = {letter_of(place): run for place, run in enumerate(runs)}
    confidence = runs[0].confidence
    finals = _finals(lettered)
    shared = {name: having for name, having in finals.items() if len(having) > 1}
    differences, flipped = compare(shared, confidence), disagreements(shared)
    manifests = [run.manifest for run in runs]
    return CompareView(
        confidence=f"{100 * confidence:g} %",
        names={letter: run.name for letter, run in lettered.items()},
        runs=tuple(_head(letter, run, names) for letter, run in lettered.items()),
        short=in_short(differences),
        distinctions=tuple(distinctions(manifests)),
        preferences=tuple(
            PreferenceView(
                name=name,
                letters=tuple(each.label for each in having),
                warnings=_warnings(name, having, lettered),
                keys=key_tables(
                    having,
                    [each for each in differences if each.preference == name],
                    _seeds(name, lettered),
                    confidence,
                ),
                criteria=_criteria(name, [lettered[each.label] for each in having]),
                flips=tuple(flip_list(each) for each in flipped if each.preference == name),
            )
            for name, having in shared.items()
        ),
        alone=tuple((name, having[0].label) for name, having in finals.items() if len(having) == 1),
        comparisons=max((each.family for each in differences), default=0),
    )


def letter_of(place: int) -> str:
    """A, B, C, ...; after Z the numbers from 27."""
    return chr(ord("A") + place) if place < 26 else str(place + 1)


def _finals(lettered: Mapping[str, ComparedRun]) -> dict[str, list[Finals]]:
    """By preference, the finals of the runs that have it, under their letters."""
    found: dict[str, list[Finals]] = {}
    for letter, run in lettered.items():
        for preference, finals in run.finals.items():
            found.setdefault(preference, []).append(replace(finals, label=letter))
    return found


def _head(letter: str, run: ComparedRun, names: Sequence[str]) -> RunHead:
    others = tuple(name for name in names if name != run.name)
    config = run.manifest.config
    return RunHead(
        letter=letter,
        name=run.name,
        model=str(config.get("base_model") or NOTHING),
        seed=str(config.get("seed", NOTHING)),
        badges=tuple(_badges(run)),
        first=(run.name, *others),
        without=others if len(others) > 1 else (),
    )


def _badges(run: ComparedRun) -> Sequence[Badge]:
    found = run.summary.preferences if run.summary else {}
    return [
        Badge(
            name,
            each.verdict.value,
            f"{each.steps_done} of {each.steps_planned} steps"
            + ("" if each.status is Status.COMPLETE else f", {each.status.value}"),
        )
        for name, each in found.items()
    ]


def _warnings(preference: str, having: Sequence[Finals], lettered: Mapping[str, ComparedRun]) -> tuple[str, ...]:
    """Against the first run that has the preference."""
    known = {each.label: lettered[each.label].metadata.get(preference) for each in having}
    first, *others = known.items()
    letter, reference = first
    return tuple(
        f"{other_letter} against {letter}: {words}"
        for other_letter, other in others
        if reference is not None and other is not None
        for words in measured_otherwise(reference, other)
    )


def _seeds(preference: str, lettered: Mapping[str, ComparedRun]) -> list[tuple[str, ...]]:
    """The letters of runs that differ in seed alone, and measured this preference in the same way."""
    alike: dict[tuple[str | None, str | None], list[str]] = {}
    for letter, run in lettered.items():
        known = run.metadata.get(preference)
        if known is not None:
            alike.setdefault((known.preference_digest, known.metrics_digest), []).append(letter)
    return [
        tuple(letters[place] for place in places)
        for letters in alike.values()
        for places in seeds_of_one_configuration([lettered[letter].manifest for letter in letters])
    ]


def _criteria(preference: str, runs: Sequence[ComparedRun]) -> dict[str, tuple[CriterionCell | None, ...]]:
    """By criterion, each run's ruling; None where it has none."""
    rulings = [_rulings(run, preference) for run in runs]
    names = dict.fromkeys(name for found in rulings for name in found)
    return {name: tuple(_ruled(found[name]) if name in found else None for found in rulings) for name in names}


def _rulings(run: ComparedRun, preference: str) -> Mapping[str, Ruling]:
    found = run.summary.preferences.get(preference) if run.summary else None
    return found.criteria if found else {}


def _ruled(ruling: Ruling) -> CriterionCell:
    interval = Interval(*ruling.ci) if ruling.ci else None
    places = decimals([interval.low, interval.high] if interval else [])
    return CriterionCell(
        verdict=ruling.verdict.value,
        value=number(ruling.value, places),
        interval=span(interval, places),
        threshold=f"{ruling.relation.replace('>=', '≥')} {ruling.threshold:g}",
        note=ruling.note,
    )


MOST_RUNS = 12


def compare_page(runs: Sequence[RunIndex], addresses: Addresses) -> str:
    """HTML of the comparison with the first run; `InvalidInput` unless there are two or more different runs."""
    with readable(", ".join(run.name for run in runs)):
        return comparison([_compared(run) for run in runs], _overlaid(runs), addresses)


def require_comparable(names: Sequence[str]) -> None:
    """Raise `InvalidInput` unless these are two to twelve different runs; nothing is read for it."""
    if len(names) > MOST_RUNS:
        raise InvalidInput(f"at most {MOST_RUNS} runs can be compared at once, got {len(names)}")
    require_different(names)


def comparison(runs: Sequence[ComparedRun], shown: Charts, addresses: Addresses) -> str:
    """HTML of a comparison, from what there is to compare and its charts."""
    return render("compare.html", view=compare_view(runs), shown=shown, addresses=addresses)


def _compared(run: RunIndex) -> ComparedRun:
    """Settings, the verdicts that stand, and the last measurements with their transcripts."""
    judged = {name: found for name in run.points if (found := run.preference_summary(name)) is not None}
    complete = {name: found for name, found in judged.items() if found.status is Status.COMPLETE}
    return ComparedRun(
        name=run.name,
        manifest=run.manifest,
        confidence=run.config.criteria.confidence,
        summary=run.summary and run.summary.model_copy(update={"preferences": complete}),
        metadata={name: found for name, found in run.metadata.items() if found is not None},
        finals={name: finals_of(last_measured(run, name), run.name) for name in run.points},
    )


def _overlaid(runs: Sequence[RunIndex]) -> Charts:
    """All runs' preferences in the same charts, each curve under its run's letter; criteria are the first run's."""
    owners = {id(history): run for run in runs for history in run.histories.values()}
    curves = {
        f"{letter_of(place)} {name}": history
        for place, run in enumerate(runs)
        for name, history in run.histories.items()
    }

    def interval(history: History, updates: int, criterion: str) -> Interval | None:
        return owners[id(history)].interval(history, updates, criterion)

    return charts_of(curves, runs[0].config.criteria, interval)
