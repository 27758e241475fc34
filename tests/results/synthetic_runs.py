"""Runs made of numbers instead of a model, for what reads records: transcripts and values agree with each other."""

import math
import random
from collections.abc import Callable, Sequence
from statistics import fmean

from claas.results.evidence import self_rouge_l
from claas.results.records import AdapterVersion, Baseline, Counts, History, StepRecord, Transcript, Values

WORDS = ["river", "stone", "cloud", "lamp", "seven", "paper", "green", "quick", "music", "salt", "north", "glass"]


class World:
    """What measurements find, as functions of progress in [0, 1]; the defaults are a run that goes well."""

    heldout: Callable[[float], float] = staticmethod(lambda t: min(1.0, 0.05 + 1.6 * t))
    probe: Callable[[float], float] = staticmethod(lambda t: min(1.0, 0.05 + 2.0 * t))
    gain: Callable[[float], float] = staticmethod(lambda t: 22 * t**0.7)
    ability: Callable[[float], float] = staticmethod(lambda t: 0.9)
    entropy: Callable[[float], float] = staticmethod(lambda t: 0.6 - 0.05 * t)
    variety: Callable[[float], float] = staticmethod(lambda t: 1.0)
    shift: Callable[[float], float] = staticmethod(lambda t: -0.3 * t)
    items = 40
    heldouts = 64
    pairs = 8
    prompts = 8

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def measure(self, step: int | None, t: float, baseline: Values | None, collapse: bool) -> tuple[Values, list]:
        noise = random.Random(f"{self.seed}/{step}")
        rollouts = self._compliance(t) + self._margin(t, noise) + self._general(t)
        values: Values = {
            "preference_compliance": _mean_score(rollouts, "probe/"),
            "heldout_compliance": _mean_score(rollouts, "heldout/"),
            "logprob_margin": self._margin_values(rollouts, baseline),
            "general": {
                "coding_correct": 1.0,
                "general_score": fmean(_scores(rollouts, "capability/")),
                "capability_pass_rate": fmean(_scores(rollouts, "capability/")),
            },
            "drift": {"kl_k1": 0.9 * t, "kl_k3": t, "off_task_kl_k1": 0.2 * t, "off_task_kl_k3": 0.25 * t},
        }
        if collapse:
            samples = self._collapse(t, noise)
            values["collapse"] = _collapse_values(samples, baseline)
            rollouts += samples
        return values, rollouts

    def _compliance(self, t: float) -> list[Transcript]:
        return _graded("compliance", "heldout", self.heldouts, self.heldout(t)) + _graded(
            "compliance", "probe", 8, self.probe(t)
        )

    def _general(self, t: float) -> list[Transcript]:
        return _graded("general", "capability", self.items, self.ability(t))

    def _margin(self, t: float, noise: random.Random) -> list[Transcript]:
        found = []
        for pair in range(self.pairs):
            gain = self.gain(t) * (1 + 0.15 * math.sin(pair)) + noise.gauss(0, 0.3)
            for side, total in (("positive", -20 + gain / 2 - pair), ("negative", -18 - gain / 2 - pair)):
                found.append(_scored("logprob_margin", f"pair/{pair}/{side}", [total / 4] * 4))
        return found

    def _margin_values(self, rollouts: Sequence[Transcript], baseline: Values | None) -> dict[str, float | None]:
        sums = {rollout.item: sum(rollout.logprobs or ()) for rollout in rollouts if rollout.metric == "logprob_margin"}
        positive = fmean(value for item, value in sums.items() if item.endswith("positive"))
        negative = fmean(value for item, value in sums.items() if item.endswith("negative"))
        values: dict[str, float | None] = {
            "positive_logprob": positive,
            "negative_logprob": negative,
            "margin": positive - negative,
            "margin_per_token": (positive - negative) / 4,
        }
        if baseline is not None:
            values["margin_delta_from_baseline"] = positive - negative - baseline["logprob_margin"]["margin"]
        return values

    def _collapse(self, t: float, noise: random.Random) -> list[Transcript]:
        found = []
        for prompt in range(self.prompts):
            for k in range(3):
                shared = round((1 - self.variety(t) * 0.8) * 12)
                text = " ".join(WORDS[:shared] + noise.choices(WORDS, k=12 - shared))
                entropy = max(0.0, self.entropy(t) * (1 + 0.2 * math.sin(prompt)) * noise.uniform(0.9, 1.1))
                logprobs = [-0.5 + self.shift(t) + noise.gauss(0, 0.1) for _ in range(10)]
                sample = _scored("collapse", f"sample/{prompt}/{k}", logprobs, text)
                found.append(sample.model_copy(update={"mean_entropy": entropy}))
            found.append(_scored("collapse", f"frozen/{prompt}", logprobs))
        return found


class Collapsing(World):
    """Learns at once, then says the same thing to everyone and can do nothing."""

    gain = staticmethod(lambda t: 40 * t)
    ability = staticmethod(lambda t: max(0.0, 0.9 - 1.2 * t))
    entropy = staticmethod(lambda t: 0.6 * max(0.02, 1 - 1.3 * t))
    variety = staticmethod(lambda t: max(0.0, 1 - 1.5 * t))
    shift = staticmethod(lambda t: -4.5 * t)


class Unchanged(World):
    """An A/A run: nothing is learned."""

    heldout = staticmethod(lambda t: 0.05)
    probe = staticmethod(lambda t: 0.05)
    gain = staticmethod(lambda t: 0.0)
    entropy = staticmethod(lambda t: 0.6)
    shift = staticmethod(lambda t: 0.0)


def make_history(
    world: World | None = None, preference: str = "concise", steps: int = 6, done: int | None = None, **fields: object
) -> History:
    """A preference measured at every step; collapse at baseline, at every third step and at the last."""
    world = world or World()
    values, rollouts = world.measure(None, 0.0, None, True)
    common = {"preference": preference, "timestamp": "2026-01-01T00:00:00Z", "counts": _counts(rollouts)}
    baseline = Baseline(
        adapter=_adapter(preference, 0), eval=values, rollouts=rollouts, timing_s={"measure": 2.0}, tokens={"out": 100},
        **common,
    )  # fmt: skip
    records = [
        _step(world, preference, step, (step + 1) / steps, values, step % 3 == 0 or step == steps - 1)
        for step in range(steps if done is None else done)
    ]
    return History(preference, steps, baseline, tuple(records), **fields)


def _step(world: World, preference: str, step: int, t: float, baseline: Values, collapse: bool) -> StepRecord:
    values, rollouts = world.measure(step, t, baseline, collapse)
    return StepRecord(
        preference=preference,
        step=step,
        timestamp="2026-01-01T00:00:00Z",
        adapter=_adapter(preference, step + 1),
        feedback_given="shorter",
        prompts=["p"],
        responses=["r"],
        rollout_ids=["x"],
        sdpo_metrics={
            "distill_loss": 0.5 * math.exp(-2 * t),
            "total_loss": 0.52 * math.exp(-2 * t),
            "grad_norm": 1.5 - t + 0.2 * math.sin(step),
            "mean_is_ratio": 1 + 0.1 * math.sin(2 * step),
            "clip_fraction": 0.05 * t,
            "kl_reg": 0.0,
            "tokens_processed": 400 + 20.0 * step,
        },
        eval=values,
        counts=_counts(rollouts),
        rollouts=rollouts,
        timing_s={"answer": 1.0, "feedback": 0.5, "measure": 2.0},
        tokens={"out": 100, "trained": 400},
    )


def _adapter(preference: str, version: int) -> AdapterVersion:
    return AdapterVersion(lora_id=f"eval/{preference}", version=version, digest=f"{version:064x}")


def _graded(metric: str, kind: str, n: int, rate: float) -> list[Transcript]:
    return [
        Transcript(
            metric=metric,
            item=f"{kind}/{index}",
            prompt="p",
            response="r",
            verdict={"score": float(index < round(rate * n)), "passed": index < round(rate * n)},
        )
        for index in range(n)
    ]


def _scored(metric: str, item: str, logprobs: list[float], response: str = "r") -> Transcript:
    return Transcript(metric=metric, item=item, prompt="p", response=response, logprobs=logprobs)


def _scores(rollouts: Sequence[Transcript], prefix: str) -> list[float]:
    return [
        float(rollout.verdict["score"]) for rollout in rollouts if rollout.verdict and rollout.item.startswith(prefix)
    ]


def _mean_score(rollouts: Sequence[Transcript], prefix: str) -> float:
    return fmean(_scores(rollouts, prefix))


def _collapse_values(samples: Sequence[Transcript], baseline: Values | None) -> dict[str, float | None]:
    clusters: dict[str, list[str]] = {}
    for sample in (each for each in samples if each.item.startswith("sample/")):
        clusters.setdefault(sample.item.rpartition("/")[0], []).append(sample.response or "")
    entropy = fmean(sample.mean_entropy for sample in samples if sample.mean_entropy is not None)
    logprob = fmean(fmean(sample.logprobs or [0.0]) for sample in samples if sample.item.startswith("frozen/"))
    rouge = fmean(self_rouge_l(texts) or 0.0 for texts in clusters.values())
    values: dict[str, float | None] = {"mean_entropy": entropy, "self_rouge_l": rouge, "mean_logprob": logprob}
    if baseline is not None:
        before = baseline["collapse"]
        values["entropy_ratio_to_baseline"] = entropy / before["mean_entropy"]
        values["mean_logprob_drift"] = abs(logprob - before["mean_logprob"])
        values["alert"] = float(
            entropy / before["mean_entropy"] < 0.6 or rouge > 0.85 or abs(logprob - before["mean_logprob"]) > 2
        )
    return values


def _counts(rollouts: Sequence[Transcript]) -> dict[str, Counts]:
    totals = dict.fromkeys(dict.fromkeys(rollout.metric for rollout in rollouts), 0)
    for rollout in rollouts:
        totals[rollout.metric] += 1
    return {metric: Counts(planned=n, scored=n, errored=0) for metric, n in totals.items()}
