"""How the measurements of each metric ended, in words."""

from collections.abc import Mapping

from claas.eval.records import Counts


def measured(counts: Mapping[str, Counts]) -> str:
    """`measurements: 130 planned, 127 scored`, over all metrics; what the bound cut off is among the scored."""
    planned, scored = sum(each.planned for each in counts.values()), sum(each.scored for each in counts.values())
    return f"measurements: {planned} planned, {scored} scored"


def lost(counts: Mapping[str, Counts]) -> str | None:
    """`answers lost: 3 of 64 of heldout, 1 of 4 of sample`; None when all came."""
    return _listed("answers lost", {name: (each.errored, each.planned) for name, each in counts.items()})


def cut_off(counts: Mapping[str, Counts]) -> str | None:
    """`answers cut at the token bound: 2 of 64 of heldout`, of those that came; None when none was."""
    return _listed(
        "answers cut at the token bound", {name: (each.truncated, each.scored) for name, each in counts.items()}
    )


def total(counts: Mapping[str, Counts], more: Mapping[str, Counts]) -> dict[str, Counts]:
    """Both together, metric by metric."""
    none = Counts(planned=0, scored=0, errored=0)
    return {name: _sum(counts.get(name, none), more.get(name, none)) for name in {**counts, **more}}


def _listed(what: str, parts: Mapping[str, tuple[int, int]]) -> str | None:
    found = [f"{number} of {of} of {name}" for name, (number, of) in parts.items() if number]
    return f"{what}: {', '.join(found)}" if found else None


def _sum(one: Counts, other: Counts) -> Counts:
    added = {name: getattr(one, name) + getattr(other, name) for name in Counts.model_fields}
    return Counts(**added)
