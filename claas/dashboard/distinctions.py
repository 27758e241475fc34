"""What runs differ in besides their numbers: settings, packages, the commit, and what exactly was measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from claas.results.manifest import MAY_DIFFER, Manifest, flat_settings, written
from claas.results.records import Metadata
from claas.results.settings import recorded_config

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
    compared = [_distinction(name, values) for values in (settings, code) for name in _names(values)]
    differing = [each for each in compared if each is not None and not _unrecorded(each)]
    return sorted(differing, key=lambda distinction: not distinction.matters)


def recorded_in_some(manifests: Sequence[Manifest]) -> list[Distinction]:
    """Packages and sources that some of these runs say nothing of: they stand on other ones, or are older than that."""
    code = [_code(manifest) for manifest in manifests]
    compared = [_distinction(name, code) for name in _names(code)]
    return [each for each in compared if each is not None and _unrecorded(each)]


def _unrecorded(distinction: Distinction) -> bool:
    """Whether the runs that have it on record agree, and others have not."""
    of_code = distinction.name.startswith(("package ", "source of "))
    return of_code and None in distinction.values and len(set(distinction.values)) == 2


def seeds_of_one_configuration(manifests: Sequence[Manifest]) -> list[tuple[int, ...]]:
    """Places of the runs that differ in nothing that matters but their seed, three or more of them together.

    Of runs with the same seed, which are no independent ones, the first counts.
    """
    groups: dict[str, dict[str, int]] = {}
    for place, manifest in enumerate(manifests):
        settings = {name: value for name, value in (_settings(manifest) | _code(manifest)).items() if _matters(name)}
        seed = written(settings.pop("seed", None))
        groups.setdefault(json.dumps(settings, sort_keys=True), {}).setdefault(seed, place)
    return [tuple(seeds.values()) for seeds in groups.values() if len(seeds) >= 3]


def measured_otherwise(reference: Metadata, other: Metadata) -> list[str]:
    """Why numbers of one preference in two runs are not of the same measurement, or may not be; empty when they are."""
    digests = {
        "the preference's feedback, prompts, pairs or verifier": (reference.preference_digest, other.preference_digest),
        "the metrics, their settings or their items": (reference.metrics_digest, other.metrics_digest),
    }
    differ = [what for what, (one, another) in digests.items() if None not in (one, another) and one != another]
    unknown = [what for what, both in digests.items() if None in both]
    return [f"not the same measurement: {what} differ" for what in differ] + [
        f"perhaps not the same measurement: no digest on record says whether {what} are the same" for what in unknown
    ]


def _settings(manifest: Manifest) -> dict[str, Any]:
    """Those of the run, and the defaults of such as it is older than."""
    settings = flat_settings(asdict(recorded_config(manifest.config)))
    return {name: value for name, value in settings.items() if name not in _PLACES}


def _code(manifest: Manifest) -> dict[str, Any]:
    code = manifest.codes[-1]
    packages = {f"package {name}": version for name, version in code.versions.items()}
    sources = {f"source of {name}": digest for name, digest in (code.sources or {}).items()}
    return {"git commit": manifest.git_commit} | packages | sources


def _names(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for values in runs for name in values))


def _distinction(name: str, runs: Sequence[Mapping[str, Any]]) -> Distinction | None:
    texts = {json.dumps(values[name], sort_keys=True) if name in values else None for values in runs}
    if len(texts) == 1:
        return None
    return Distinction(name, tuple(written(run[name]) if name in run else None for run in runs), _matters(name))


def _matters(name: str) -> bool:
    return _HARMLESS.isdisjoint({name, name.partition(".")[0]})
