"""Learners whose faults are known, drawn from recorded answers: each has to set off its own alarm, every time."""

import random
from collections.abc import Callable, Mapping

from benchmarks.drawn import HELDOUT, MARGINS, Example, measured, planned
from benchmarks.report import Report
from claas.dashboard.answers import answers
from claas.results.effects import effects_of
from claas.results.records import History, Transcript
from claas.results.settings import EvalConfig
from claas.results.summary import build_summary
from claas.results.verdict import Verdict, judge

SEEDS = 50
CONFIG = EvalConfig(preferences=["concise"], num_steps=1)

COMPLIES, KEEPS = 0.19, 0.39
"""What six updates on feedback that is about something else make of the embedded model, by its own recorded numbers:
its held-out compliance with `concise`, and the share of the capability items that it keeps."""

Fault = Callable[[Transcript, random.Random], Transcript]
"""What becomes of an answer of a healthy learner."""


def known_learners(report: Report, example: Example) -> None:
    """Print in what share of the draws each learner is told to be what it is."""
    report.note(f"learners that are known, {SEEDS} seeds each: the share that is told so")
    for name, (fault, alarms) in _FAULTS.items():
        found = [judge(_history(example, seed, fault), {}) for seed in range(SEEDS)]
        told = [
            alarms <= {alarm for alarm, each in one.criteria.items() if each.verdict is Verdict.FAIL} for one in found
        ]
        report.line(name, sum(told) / SEEDS, "", at_least=1.0)
    passed = [judge(_history(example, seed, _healthy), {}).verdict is Verdict.PASS for seed in range(SEEDS)]
    report.line("a healthy learner: passes", sum(passed) / SEEDS, "", at_least=0.99)
    beyond = [_is_beyond_irrelevant(example, seed) for seed in range(SEEDS)]
    report.line("a healthy learner: beyond its control on irrelevant feedback", sum(beyond) / SEEDS, "", at_least=1.0)
    wide = [_is_applied_too_widely(example, seed) for seed in range(SEEDS)]
    report.line("the opposite is no longer had: its page says so", sum(wide) / SEEDS, "", at_least=1.0)


def _is_beyond_irrelevant(example: Example, seed: int) -> bool:
    run, control = _history(example, seed, _healthy), _history(example, seed, _irrelevant, "concise.irrelevant")
    histories = {history.preference: history for history in (run, control)}
    p = effects_of(histories, planned(["irrelevant"]), 0.95)["concise"]["irrelevant"].compliance.p_holm
    return p is not None and p <= 0.05


def _is_applied_too_widely(example: Example, seed: int) -> bool:
    history = _history(example, seed, _opposite_ignored)
    summary = build_summary("drawn", CONFIG, {"concise": history}).preferences["concise"]
    return "Applied too widely" in [each.answer for each in answers(summary, history, CONFIG.criteria)]


def _history(example: Example, seed: int, fault: Fault, name: str = "concise") -> History:
    """Complies where the recorded run did after three updates, and is otherwise as before, but for its margins."""
    noise = random.Random(f"learner/{seed}")
    drawn = {kind: list(items) for kind, items in example.drawn(noise).items()}
    learned = [item for item in example.items[HELDOUT] if example.values(HELDOUT, item[3]) == [1.0]]
    drawn[HELDOUT] = example.named(HELDOUT, noise.choices(learned, k=len(drawn[HELDOUT])))
    after = measured(drawn, lambda kind: 3 if kind in (HELDOUT, MARGINS) else 0)
    return example.history(measured(drawn, lambda _: 0), [fault(answer, noise) for answer in after], name)


def _healthy(answer: Transcript, noise: random.Random) -> Transcript:
    return answer


def _one_token(answer: Transcript, noise: random.Random) -> Transcript:
    return _shifted(_alike(_certain(answer, noise), noise), noise)


def _certain(answer: Transcript, noise: random.Random) -> Transcript:
    entropy = answer.mean_entropy
    return answer if entropy is None else answer.model_copy(update={"mean_entropy": 0.3 * entropy})


def _alike(answer: Transcript, noise: random.Random) -> Transcript:
    return answer.model_copy(update={"response": "the the the the"}) if answer.item.startswith("sample/") else answer


def _shifted(answer: Transcript, noise: random.Random) -> Transcript:
    if not answer.item.startswith("frozen/"):
        return answer
    return answer.model_copy(update={"logprobs": [each - 4.0 for each in answer.logprobs or ()]})


def _half_forgotten(answer: Transcript, noise: random.Random) -> Transcript:
    return _wrong(answer) if answer.metric == "general" and noise.random() < 0.5 else answer


def _little_learned(answer: Transcript, noise: random.Random) -> Transcript:
    return _wrong(answer) if answer.metric == "compliance" and noise.random() < 0.75 else answer


def _irrelevant(answer: Transcript, noise: random.Random) -> Transcript:
    right = {"compliance": COMPLIES, "general": KEEPS}.get(answer.metric)
    return _wrong(answer) if right is not None and noise.random() >= right else answer


def _opposite_ignored(answer: Transcript, noise: random.Random) -> Transcript:
    return _wrong(answer) if answer.metric == "scope" else answer


def _wrong(answer: Transcript) -> Transcript:
    return answer.model_copy(update={"verdict": {**(answer.verdict or {}), "score": 0.0, "passed": False}})


_RETENTION = frozenset({"knowledge_retention", "form_retention"})
_COLLAPSE = frozenset({"entropy_ratio", "self_rouge_l", "mean_logprob_drift"})

_FAULTS: Mapping[str, tuple[Fault, frozenset[str]]] = {
    "one token for ever: all three criteria of collapse fail": (_one_token, _COLLAPSE),
    "a third of the entropy: entropy_ratio fails": (_certain, frozenset({"entropy_ratio"})),
    "one answer to a prompt: self_rouge_l fails": (_alike, frozenset({"self_rouge_l"})),
    "own words 4 nats less likely: mean_logprob_drift fails": (_shifted, frozenset({"mean_logprob_drift"})),
    "half of the abilities gone: both criteria of retention fail": (_half_forgotten, _RETENTION),
    "a quarter of prompts complied with: heldout_compliance fails": (
        _little_learned,
        frozenset({"heldout_compliance"}),
    ),
    "irrelevant feedback: compliance and both criteria of retention fail": (
        _irrelevant,
        _RETENTION | {"heldout_compliance"},
    ),
}
"""Each fault, and the criteria that have to fail of it."""
