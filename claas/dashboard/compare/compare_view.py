"""What the page that compares runs shows: every number written out, every sentence decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from claas.core.errors import InvalidInput
from claas.dashboard.compare.comparison import Distinction, distinctions, measured_otherwise, seeds_of_one_configuration
from claas.dashboard.compare.difference_view import InShort, KeyTable, in_short, key_tables
from claas.dashboard.compare.flip_view import FlipList, flip_list
from claas.dashboard.compare.written_numbers import NOTHING, decimals, number, span
from claas.eval.history import Status
from claas.eval.records import Metadata
from claas.eval.run.manifest import Manifest
from claas.eval.verdicts.comparison import Finals, compare, disagreements
from claas.eval.verdicts.statistics import Interval
from claas.eval.verdicts.summary import Summary
from claas.eval.verdicts.verdict import Ruling


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
