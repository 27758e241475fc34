"""`aggregate.json`: what runs of several seeds show together, and how two settings differ over them."""

from pathlib import Path

from pydantic import JsonValue

from claas.core.files import write_atomically
from claas.results.records import SCHEMA_VERSION, Record
from claas.results.survival import Survival
from claas.results.verdict import Verdict

NAME = "aggregate.json"


class MeanOverSeeds(Record):
    """The mean of one number of each seed, with Student's interval over seeds alone: other seeds on the same items."""

    value: float
    ci: tuple[float, float] | None
    by_seed: dict[str, float]


class CurveOverSeeds(Record):
    """A key after so many updates: the mean over seeds, and as a band its interval as in `MeanOverSeeds`; each seed's
    own. null where a seed was not measured."""

    title: str
    unit: str | None
    updates: list[int]
    mean: list[float | None]
    band: list[tuple[float, float] | None]
    by_seed: dict[str, list[float | None]]


class SeedsVariance(Record):
    """The variance of a mean over seeds and items: the part of each, and of single cells as if nothing joined them.

    `whole` is seeds + items - residual, at least the larger of the first two.
    """

    seeds: float
    items: float
    residual: float
    whole: float


class CriterionOverSeeds(Record):
    """One criterion over `seeds` and `items`, with its two-way interval; `p` is one-sided, of the criterion being met,
    and `p_holm` adjusted over the criteria of all preferences.

    `by_seed` are the numbers of each. `seeds_needed` would conclude with probability .8, were all as estimated; null
    where it has concluded, and where more seeds alone would not: `note` says which.
    """

    value: float | None
    ci: tuple[float, float] | None
    relation: str
    threshold: float
    seeds: int
    items: int
    p: float | None
    p_holm: float | None
    verdict: Verdict
    variance: SeedsVariance | None
    by_seed: dict[str, float | None]
    seeds_needed: int | None
    formula: str
    note: str | None = None


class PreferenceOverSeeds(Record):
    """One preference, or track, of one setting. Criteria are of complete runs; curves and survivors of all.

    `beyond_controls` is by how much more compliance with it changed than in each control arm.
    """

    curves: dict[str, CurveOverSeeds]
    criteria: dict[str, CriterionOverSeeds]
    to_criterion: Survival | None
    flip_half_life: Survival | None
    beyond_controls: dict[str, MeanOverSeeds]


class AggregatedRun(Record):
    """One of the runs, by its seed."""

    seed: int
    run_id: str
    folder: str
    done: dict[str, str]


class SettingOverSeeds(Record):
    """The runs of one configuration. `value` is that of the setting by which two are compared.

    `transfer` is of protocol=sequential: numbers over the matrix.
    """

    value: JsonValue
    runs: list[AggregatedRun]
    preferences: dict[str, PreferenceOverSeeds]
    transfer: dict[str, MeanOverSeeds]


class DifferenceOverSeeds(Record):
    """A key after training: the second setting less the first, paired by seed and item, with its two-way interval.

    `p` is two-sided, of no difference; `p_holm` adjusted over all that are compared.
    """

    title: str
    value: float
    ci: tuple[float, float] | None
    seeds: int
    items: int
    p: float | None
    p_holm: float | None
    by_seed: dict[str, float | None]


class Aggregate(Record):
    """Runs of several seeds. `by` is the setting in which two configurations differ, null with one.

    `differences` are by preference and key. `notes` are what a reader has to know.
    """

    schema_version: int = SCHEMA_VERSION
    confidence: float
    by: str | None
    settings: list[SettingOverSeeds]
    differences: dict[str, dict[str, DifferenceOverSeeds]]
    notes: list[str]


def write_aggregate(folder: Path, made: Aggregate) -> Path:
    """Replace aggregate.json in one step, and say where it is."""
    write_atomically(folder / NAME, made.model_dump_json(indent=2) + "\n")
    return folder / NAME
