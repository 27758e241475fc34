"""Runs whose measurements are chance: what a stack says whose answers depend on the seed alone.

Items differ in how hard they are, prompts in how much there is to say, pairs in how much they move; before and after
are drawn independently around what the item is like. What the training did is one number per criterion, by default
nothing.
"""

import random
from dataclasses import dataclass
from functools import cache

from claas.results.records import AdapterVersion, Baseline, History, StepRecord, Transcript, Values

KEYS: Values = {
    "heldout_compliance": 0.0,
    "logprob_margin": {"margin": 0.0},
    "general": {"capability_pass_rate": 0.0},
    "collapse": {"mean_entropy": 0.0, "self_rouge_l": 0.0, "mean_logprob": 0.0},
}
"""What was measured. A verdict is drawn from the transcripts, so that the values do not matter."""


@dataclass(frozen=True)
class Effect:
    """What is true after the update: mean compliance, nats gained, share of ability kept, entropy as a share of what it
    was, likeness of a prompt's samples, nats by which the mean logprob has moved."""

    compliance: float = 0.8
    gain: float = 0.0
    kept: float = 1.0
    entropy: float = 1.0
    likeness: float = 0.5
    shift: float = 0.0
    heldouts: int = 64
    items: int = 46
    pairs: int = 5
    prompts: int = 10


AT_EVERY_THRESHOLD = Effect(compliance=0.8, gain=2.0, kept=0.9, entropy=0.6, likeness=0.85, shift=-2.0)
"""Every effect stands at the threshold of its default criterion."""


def chance_history(effect: Effect, seed: int, preference: str = "concise") -> History:
    """One preference, measured before and after its only step."""
    noise = random.Random(f"{seed}/{preference}")
    before, after = (list(each) for each in zip(*_measurements(effect, noise), strict=True))
    common = {"preference": preference, "timestamp": "2026-01-01T00:00:00Z", "eval": KEYS, "counts": {}}
    common |= {"timing_s": {}, "tokens": {}}
    step = {"feedback_given": "f", "prompts": [], "responses": [], "rollout_ids": [], "sdpo_metrics": {}}
    baseline = Baseline(adapter=_version(0), rollouts=before, **common)
    return History(
        preference, 1, baseline, (StepRecord(step=0, adapter=_version(1), rollouts=after, **common, **step),)
    )


def _measurements(effect: Effect, noise: random.Random) -> list[tuple[Transcript, Transcript]]:
    """Every transcript before, and the same after."""
    found: list[tuple[Transcript, Transcript]] = []
    for item in range(effect.heldouts):
        rate = _between(noise, effect.compliance)
        found.append(_answers("compliance", f"heldout/{item}", noise, rate, rate))
    for item in range(effect.items):
        rate = _between(noise, 0.9)
        found.append(_answers("general", f"item_{item}", noise, rate, effect.kept * rate))
    for pair in range(effect.pairs):
        start, moved = noise.gauss(-5, 4), effect.gain + noise.gauss(0, 1.5)
        found.append(_scores("logprob_margin", f"pair/{pair}/positive", start - 20, start - 20 + moved))
        found.append(_scores("logprob_margin", f"pair/{pair}/negative", -20, -20))
    for prompt in range(effect.prompts):
        found += _samples(effect, prompt, noise)
        start = noise.gauss(-0.5, 0.1)
        found.append(_scores("collapse", f"frozen/{prompt}", start, start + effect.shift + noise.gauss(0, 0.3)))
    return found


def _samples(effect: Effect, prompt: int, noise: random.Random) -> list[tuple[Transcript, Transcript]]:
    """Three answers to a prompt, of which as many of ten words are the same as the likeness says."""
    entropy = noise.lognormvariate(-0.7, 0.2)
    before, after = (_words_shared(noise, mean) for mean in (0.5, effect.likeness))
    return [
        (
            _sample(prompt, k, before, entropy * noise.uniform(0.7, 1.3)),
            _sample(prompt, k, after, entropy * effect.entropy * noise.uniform(0.7, 1.3)),
        )
        for k in range(3)
    ]


def _words_shared(noise: random.Random, likeness: float, words: int = 10) -> int:
    """Rounded up or down by chance, so that the mean is the likeness."""
    drawn = words * noise.betavariate(18 * likeness, 18 * (1 - likeness))
    return int(drawn) + (noise.random() < drawn % 1)


def _sample(prompt: int, k: int, shared: int, entropy: float, words: int = 10) -> Transcript:
    text = " ".join([f"same{i}" for i in range(shared)] + [f"own{k}x{i}" for i in range(words - shared)])
    item = f"sample/{prompt}/{k}"
    return Transcript(metric="collapse", item=item, prompt="p", response=text, mean_entropy=entropy)


def _between(noise: random.Random, mean: float) -> float:
    """How likely one item is to pass: some are easy, some hard, a few in between."""
    return noise.betavariate(2 * mean, 2 * (1 - mean))


def _answers(metric: str, item: str, noise: random.Random, *rates: float) -> tuple[Transcript, Transcript]:
    before, after = (_answer(metric, item, noise.random() < rate) for rate in rates)
    return before, after


@cache
def _answer(metric: str, item: str, passed: bool) -> Transcript:
    verdict = {"score": float(passed), "passed": passed}
    return Transcript(metric=metric, item=item, prompt="p", response="r", verdict=verdict)


def _scores(metric: str, item: str, *sums: float) -> tuple[Transcript, Transcript]:
    before, after = (Transcript(metric=metric, item=item, prompt="p", response="r", logprobs=[each]) for each in sums)
    return before, after


def _version(version: int) -> AdapterVersion:
    return AdapterVersion(lora_id="eval/chance", version=version, digest=f"{version:064x}")
