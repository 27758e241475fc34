"""What loggers show of a run, taken from its records: settings, a point per measurement, and tables at its end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import chain, zip_longest
from pathlib import Path

from claas.core.redaction import without_secrets
from claas.eval.loggers.logger import Cell, Ending, EndState, LoggedPoint, LoggedRun, LoggedTable
from claas.results.manifest import Manifest, flat_settings
from claas.results.records import Baseline, History, Status, StepRecord, Transcript, flat
from claas.results.run_files import PreferenceRecords
from claas.results.settings import EvalConfig
from claas.results.summary import Summary
from claas.results.verdict import Ruling

MOST_TRANSCRIPTS = 500
LONGEST_TEXT = 2000
"""Characters of a text in a table."""

_STATES = {Status.COMPLETE: EndState.FINISHED, Status.FAILED: EndState.FAILED, Status.RUNNING: EndState.INTERRUPTED}


def run_of(folder: Path, manifest: Manifest, config: EvalConfig) -> LoggedRun:
    """The run in a folder. A sweep's runs have the name of its folder at the head of their own."""
    folder = folder.resolve()
    settings = {name: _clean(value) for name, value in flat_settings(asdict(config)).items()}
    tags = [f"protocol:{config.protocol.kind}", f"arm:{config.arm}", f"mode:{config.mode}", *config.preferences]
    facts = {"run_id": manifest.run_id, "created": manifest.created, "git_commit": manifest.git_commit}
    facts |= {"base_source": manifest.base_source, **{f"version.{name}": it for name, it in manifest.versions.items()}}
    return LoggedRun(
        name=folder.name,
        folder=folder,
        group=folder.parent.name if folder.name.startswith(f"{folder.parent.name}-") else None,
        tags=tuple(dict.fromkeys(tags)),
        settings={name: value for name, value in settings.items() if name.split(".")[0] != "logger"},
        facts={name: fact for name, fact in facts.items() if fact is not None},
    )


def _clean(value: object) -> object:
    return without_secrets(value) if isinstance(value, str) else value


def points_on_record(records: Mapping[str, PreferenceRecords]) -> Iterable[LoggedPoint]:
    """Everything that was measured before this process came, track by track."""
    for track, found in records.items():
        if found.baseline is not None:
            yield point_of(track, found.baseline)
        yield from (point_of(track, step) for step in found.steps)


def point_of(track: str, record: Baseline | StepRecord) -> LoggedPoint:
    """Every number of one record: metrics, the update's own, seconds by phase, tokens by kind, and what was lost."""
    step = record if isinstance(record, StepRecord) else None
    values: dict[str, float | None] = {
        **flat(record.eval),
        **{f"sdpo/{name}": value for name, value in (step.sdpo_metrics if step else {}).items()},
        **{f"seconds/{phase}": seconds for phase, seconds in record.timing_s.items()},
        **{f"tokens/{kind}": count for kind, count in record.tokens.items()},
        **{f"lost/{metric}": counts.errored for metric, counts in record.counts.items()},
    }
    return LoggedPoint(
        track=track,
        updates=0 if step is None else step.step + 1,
        time=datetime.fromisoformat(record.timestamp).timestamp(),
        scalars={f"{track}/{name}": float(value) for name, value in values.items() if value is not None},
    )


def ending_of(summary: Summary, histories: Mapping[str, History], plots: Iterable[Path]) -> Ending:
    """How a run that came to its results ended."""
    failures = [f"{name}: {history.failure}" for name, history in histories.items() if history.failure is not None]
    verdicts = {name: found.verdict for name, found in summary.preferences.items() if found.control_of is None}
    return Ending(
        state=_STATES[summary.status],
        reason="; ".join(failures) or None,
        updates=max((len(history.steps) for history in histories.values()), default=0),
        verdicts={**{name: verdict.value for name, verdict in verdicts.items()}, "verdict": summary.verdict.value},
        tables=(verdict_table(summary), transcripts_table(histories)),
        plots=tuple(plots),
    )


def verdict_table(summary: Summary) -> LoggedTable:
    """A row for each criterion of each preference, and one for what follows from them."""
    columns = ("preference", "criterion", "value", "ci_low", "ci_high", "relation", "threshold", "n", "p_holm")
    rows: list[Sequence[Cell]] = []
    for name, found in summary.preferences.items():
        if found.control_of is None:
            rows += [_ruled(name, criterion, ruling) for criterion, ruling in found.criteria.items()]
            rows.append((name, "all", *[None] * 7, found.verdict.value, found.reason))
    if summary.transfer is not None:
        rows.append(_ruled("all", "bwt", summary.transfer.ruling))
    return LoggedTable("verdict", (*columns, "verdict", "note"), rows)


def _ruled(name: str, criterion: str, ruling: Ruling) -> Sequence[Cell]:
    low, high = ruling.ci or (None, None)
    of_threshold = (ruling.relation, ruling.threshold, ruling.n, ruling.p_holm)
    return (name, criterion, ruling.value, low, high, *of_threshold, ruling.verdict.value, ruling.note)


def transcripts_table(histories: Mapping[str, History]) -> LoggedTable:
    """What was said at the baseline and at the last step of each track, some of every metric where it is too much."""
    groups: dict[tuple[str, int, str], list[Transcript]] = {}
    for track, history in histories.items():
        for updates in sorted({0, len(history.steps)}):
            for transcript in history.rollouts(updates):
                groups.setdefault((track, updates, transcript.metric), []).append(transcript)
    total = sum(map(len, groups.values()))
    # One of each group in turn, until there are enough, and then in the order of the records.
    in_turn = chain.from_iterable(
        zip_longest(*([(key, i) for i in range(len(found))] for key, found in groups.items()))
    )
    chosen = set([place for place in in_turn if place is not None][:MOST_TRANSCRIPTS])
    rows = [_said(key, each) for key, found in groups.items() for i, each in enumerate(found) if (key, i) in chosen]
    note = f"{len(rows)} of {total} transcripts; steps.jsonl and baseline.json have all of them"
    columns = ("track", "update", "metric", "item", "prompt", "response", "score", "passed", "error")
    return LoggedTable("transcripts", columns, rows, note if total > len(rows) else None)


def _said(key: tuple[str, int, str], transcript: Transcript) -> Sequence[Cell]:
    track, updates, metric = key
    verdict = transcript.verdict or {}
    score, passed = verdict.get("score"), verdict.get("passed")
    texts = (_shortened(transcript.prompt), _shortened(transcript.response))
    marks = (float(score) if isinstance(score, int | float) else None, None if passed is None else str(passed))
    return (track, updates, metric, transcript.item, *texts, *marks, _shortened(transcript.error))


def _shortened(text: str | None) -> str | None:
    if text is None or len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]} [... {len(text) - LONGEST_TEXT} characters more]"
