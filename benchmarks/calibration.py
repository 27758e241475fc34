"""How often verdicts are wrong where the truth is known, and whether each known fault sets off its own alarm.

Runs are drawn by seed from recorded answers: nothing is asked of a model.
"""

import random
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean

from benchmarks.drawn import FORM_OUT_OF_SCOPE, HELDOUT, KNOWLEDGE, SCOPE, Answers, Example, Item, measured, planned
from benchmarks.learners import known_learners
from benchmarks.report import Report
from claas.results.decision import PairedScores, decide
from claas.results.effects import effects_of
from claas.results.records import History, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import build_summary
from claas.results.transfer import transfer_of
from claas.results.verdict import Judgement, Verdict, judge

SEEDS = 250
LEVEL = 0.025
"""One side of a 95 % interval."""

UPDATES = (1, 2, 3)
CONTROLS = ("irrelevant", "neutral", "off_policy")


def main() -> int:
    """Print every rate beside what it may be; exit code 1 when one is beyond that by more than chance."""
    report, example = Report(), Example.read()
    report.note(f"of {SEEDS} seeds each; in brackets the exact 95 % interval of the rate found")
    _at_thresholds(report, example)
    _nothing_changed(report, example)
    for anew in (False, True):
        _control_arms(report, example, anew)
    _backward_transfer(report, example)
    _benchmark_decisions(report, example)
    known_learners(report, example)
    return report.exit_code


def _at_thresholds(report: Report, example: Example) -> None:
    """Each threshold is what all recorded items come to: runs drawn from them err as often as they ever can."""
    for updates in UPDATES:
        every = {kind: example.named(kind, items) for kind, items in example.items.items()}
        truth = judge(_run(example, every, updates), {}).criteria
        thresholds = {name: ruling.value for name, ruling in truth.items() if ruling.value is not None}
        found: Counter[str] = Counter()
        for noise in _noises(f"threshold/{updates}"):
            found.update(_said(judge(_run(example, example.drawn(noise), updates), thresholds)))
        report.note(f"after {updates} recorded updates, each threshold at what they come to")
        for name, threshold in thresholds.items():
            for said in ("passes", "fails by itself"):
                report.rate(f"{name}, truth {threshold:.3g}: {said}", found[f"{name} {said}"], SEEDS, LEVEL)
        report.rate("any criterion fails, adjusted (Holm)", found["run fail"], SEEDS, LEVEL)
        report.rate("every criterion passes", found["run pass"], SEEDS, LEVEL)


def _nothing_changed(report: Report, example: Example) -> None:
    """Before and after, an item's answers are one of its three recorded ones by lot."""
    found: Counter[str] = Counter()
    held_out = fmean(_mean(example, HELDOUT, updates) for updates in UPDATES)
    criteria = {"heldout_compliance": held_out, "margin_gain": 0.0}
    config = EvalConfig(preferences=["concise"], num_steps=1, criteria=criteria)
    for noise in _noises("nothing"):
        drawn = example.drawn(noise)
        history = example.history(_by_lot(drawn, noise), _by_lot(drawn, noise))
        summary = build_summary("drawn", config, {"concise": history}).preferences["concise"]
        found.update(_said(summary))
        change = summary.delta_ci["over_application_rate"]
        found["applied too widely"] += change is not None and change[0] > 0
    report.note("nothing changed, and compliance is at its threshold; a gain of more than 0 is asked for")
    for name in ("heldout_compliance", "margin_gain"):
        report.rate(f"{name}: passes", found[f"{name} passes"], SEEDS, LEVEL)
    for name in ("knowledge_retention", "form_retention", "entropy_ratio", "self_rouge_l", "mean_logprob_drift"):
        report.rate(f"{name}, default threshold: fails by itself", found[f"{name} fails by itself"], SEEDS, LEVEL)
    report.rate("the run fails", found["run fail"], SEEDS, LEVEL)
    report.rate("the run passes", found["run pass"], SEEDS, LEVEL)
    report.rate("its page says that it is applied too widely", found["applied too widely"], SEEDS, LEVEL)


def _control_arms(report: Report, example: Example, anew: bool) -> None:
    """A run and its controls, of which every measurement of a prompt is one of its three recorded ones by lot."""
    tracks, beyond = planned(CONTROLS), 0
    for noise in _noises("controls"):
        drawn = {HELDOUT: example.drawn(noise)[HELDOUT]}
        before = _by_lot(drawn, noise)
        histories = {
            track.name: example.history(_by_lot(drawn, noise) if anew else before, _by_lot(drawn, noise), track.name)
            for track in tracks
        }
        effects = effects_of(histories, tracks, 1 - 2 * LEVEL)["concise"].values()
        beyond += any(each.compliance.p_holm is not None and each.compliance.p_holm <= 2 * LEVEL for each in effects)
    baselines = "baselines measured anew" if anew else "one baseline"
    report.rate(f"p <= .05 against any of {len(CONTROLS)} like controls, {baselines}", beyond, SEEDS, 2 * LEVEL)


def _backward_transfer(report: Report, example: Example) -> None:
    """Two preferences before the last; what each was at its own stage, and is at the end, is recorded."""
    report.note("backward transfer, the margin at what the recorded answers come to")
    for then, now in ((3, 2), (3, 1), (2, 3)):
        truth = _mean(example, HELDOUT, now) - _mean(example, HELDOUT, then)
        found: Counter[str] = Counter()
        for noise in _noises(f"transfer/{then}/{now}"):
            rows = [example.drawn(noise)[HELDOUT] for _ in range(2)]
            ruling = transfer_of(_stages(example, rows, then, now), truth, confidence=0.95, family=0).ruling
            found[ruling.verdict.value] += 1
        for verdict in (Verdict.PASS, Verdict.FAIL):
            report.rate(f"bwt, truth {truth:.3g}: {verdict.value}", found[verdict.value], SEEDS, LEVEL)


def _stages(example: Example, rows: Sequence[Sequence[Item]], then: int, now: int) -> list[History]:
    """Three preferences; the first two are measured again after the last."""
    names = ("a", "b", "c")
    base, own = (
        [measured({HELDOUT: row}, lambda _, updates=updates: updates) for row in (*rows, rows[0])]
        for updates in (0, then)
    )
    again = [
        transcript.model_copy(update={"metric": "across", "item": f"{name}/{transcript.item}"})
        for name, row in zip(names, rows, strict=False)
        for transcript in measured({HELDOUT: row}, lambda _: now)
    ]
    return [
        example.history(before, [*answers, *(again if name == names[-1] else [])], name)
        for name, before, answers in zip(names, base, own, strict=True)
    ]


def _benchmark_decisions(report: Report, example: Example) -> None:
    """Three kinds of recorded items as the tasks of a benchmark."""
    found: Counter[str] = Counter()
    missed_before, missed_after = (_mean(example, FORM_OUT_OF_SCOPE, updates) for updates in (0, 3))
    loss = missed_after - missed_before
    for noise in _noises("decision"):
        drawn = example.drawn(noise)
        same = decide({kind: _pairs(example, drawn, kind, noise) for kind in (HELDOUT, KNOWLEDGE, SCOPE)}, margin=0.0)
        found.update({change.outcome.value for change in same.tasks.values()})
        found[same.decision.value] += 1
        before, after = (_values(example, FORM_OUT_OF_SCOPE, drawn, updates) for updates in (3, 0))
        found[f"loss {decide({FORM_OUT_OF_SCOPE: PairedScores(before, after)}, margin=loss).decision.value}"] += 1
    report.note("benchmarks compared: three tasks of which nothing changed, margin 0; then one that lost its margin")
    report.rate("any task is worse", found["worse"], SEEDS, LEVEL)
    report.rate("any task is better", found["better"], SEEDS, LEVEL)
    report.rate("KEEP", found["KEEP"], SEEDS, LEVEL)
    report.rate(f"truth -{loss:.3g}: KEEP", found["loss KEEP"], SEEDS, LEVEL)
    report.rate(f"truth -{loss:.3g}: DISCARD", found["loss DISCARD"], SEEDS, LEVEL)


def _pairs(example: Example, drawn: Answers, kind: str, noise: random.Random) -> PairedScores:
    before, after = (example.values(kind, _by_lot({kind: drawn[kind]}, noise)) for _ in range(2))
    return PairedScores(before, after)


def _noises(what: str) -> Iterable[random.Random]:
    return (random.Random(f"{what}/{seed}") for seed in range(SEEDS))


def _by_lot(answers: Answers, noise: random.Random) -> list[Transcript]:
    return measured(answers, lambda _: noise.choice(UPDATES))


def _run(example: Example, answers: Answers, updates: int) -> History:
    return example.history(measured(answers, lambda _: 0), measured(answers, lambda _: updates))


def _mean(example: Example, kind: str, updates: int) -> float:
    return fmean(_values(example, kind, {kind: example.named(kind, example.items[kind])}, updates))


def _values(example: Example, kind: str, answers: Answers, updates: int) -> list[float]:
    return example.values(kind, measured(answers, lambda _: updates))


def _said(judgement: Judgement) -> Iterable[str]:
    """What a verdict says that may be wrong."""
    yield f"run {judgement.verdict.value}"
    for name, ruling in judgement.criteria.items():
        if ruling.verdict is Verdict.PASS:
            yield f"{name} passes"
        if ruling.p is not None and ruling.p <= LEVEL:
            yield f"{name} fails by itself"


if __name__ == "__main__":
    sys.exit(main())
