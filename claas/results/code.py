"""Which code made a run's numbers: the versions of packages, the digests of sources, and what changed on the way."""

from collections.abc import Iterable

from claas.results.records import History, Record

NO_SOURCE = "no source"
"""Stands for the digest of a module whose source cannot be read: compiled, or typed into a prompt."""


class Code(Record):
    """`versions` are those of packages. `sources` has, by name, the sha256 of each module or package whose code decides
    the numbers and that is no installed package's, `NO_SOURCE` where it cannot be read; None in records of earlier
    versions."""

    versions: dict[str, str]
    sources: dict[str, str] | None = None


class Change(Record):
    """Other code than before, accepted with accept_changes=true where that has to be; `code` is all of it.

    `from_step` has by preference the first step that was measured with it, None where its baseline was, too.
    `differences` say in words what was not as before.
    """

    timestamp: str
    from_step: dict[str, int | None]
    differences: tuple[str, ...]
    code: Code


def differences(then: Code, now: Code, *, but_patches: bool = False) -> list[str]:
    """What is not the same, each with its name; with `but_patches` only what has to be accepted.

    A package counts where both know its version; the first two numbers of it have to agree. A source counts where both
    have sources on record; that they were not on record before is said, and need not be accepted.
    """
    found = [
        f"{name} was {then.versions[name]}, now {version}"
        for name, version in now.versions.items()
        if name in then.versions and _differ(name, then.versions[name], version, but_patches)
    ]
    if then.sources is None or now.sources is None:
        unknown = then.sources is None and now.sources is not None
        return [*found, "sources may differ (those before are not on record)"] if unknown and not but_patches else found
    for name in sorted(then.sources | now.sources):
        was, is_now = then.sources.get(name), now.sources.get(name)
        if was != is_now:
            how = "is new" if was is None else "is not used any more" if is_now is None else "was edited"
            found.append(f"the source of {name} {how}")
    return found


def said_of(changes: Iterable[Change], history: History) -> list[str]:
    """What a reader of one preference's numbers has to know of changes; nothing of those since which none was made."""
    said: list[str] = []
    for change in changes:
        if history.preference not in change.from_step:
            continue
        step = change.from_step[history.preference]
        if step is None and history.baseline is not None:
            said.append(f"made with other code than the run was started with: {'; '.join(change.differences)}")
        elif step is not None and len(history.steps) > step:
            said.append(f"from step {step} on made with other code: {'; '.join(change.differences)}")
    return said


def _differ(package: str, one: str, other: str, but_patches: bool) -> bool:
    """Whether versions differ, or their first two numbers do; every version of this package counts."""
    if but_patches and package != "claas":
        return one.split(".")[:2] != other.split(".")[:2]
    return one != other
