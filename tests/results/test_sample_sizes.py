""" "needs n ≥ ...": at that size a verdict comes about as often as said, and at half of it clearly less often."""

import random
from collections.abc import Callable

import pytest
from scipy.stats import binom

from claas.results.means import mean_p, mean_p_at_most, needed_for_mean
from claas.results.statistics import needed_for_proportion, needed_for_retention, retention_p, wilson

TRIALS = 160


@pytest.mark.parametrize(("rate", "threshold"), [(0.9, 0.8), (0.7, 0.8), (0.6, 0.5), (0.95, 0.9)])
def test_of_held_out_prompts(rate: float, threshold: float) -> None:
    """Exactly, from the binomial distribution."""
    needed = needed_for_proportion(rate, threshold)
    assert needed is not None
    assert _power_of_wilson(needed, rate, threshold) == pytest.approx(0.8, abs=0.04)
    assert _power_of_wilson(needed // 2, rate, threshold) < 0.6


@pytest.mark.parametrize(("gain", "threshold"), [(3.5, 2.0), (0.9, 2.0), (2.8, 2.0)])
def test_of_pairs(gain: float, threshold: float) -> None:
    needed = needed_for_mean([gain - 1.5, gain, gain + 1.5], threshold)
    assert needed is not None

    def p_value(noise: random.Random, n: int) -> float | None:
        values = [noise.gauss(gain, 1.5) for _ in range(n)]
        return mean_p(values, threshold) if gain < threshold else mean_p_at_most(values, threshold)

    assert 0.7 <= _power(p_value, needed) <= 0.9
    assert _power(p_value, needed // 2) < 0.65


@pytest.mark.parametrize(("kept", "gained"), [(0.99, 0.3), (0.75, 0.1), (1.0, 0.0)])
def test_of_capability_items(kept: float, gained: float) -> None:
    """Nine hundred of a thousand items pass before; afterwards a share of these passes, and a share of the others."""
    before = [1.0] * 900 + [0.0] * 100
    after = [1.0] * round(900 * kept) + [0.0] * round(900 * (1 - kept)) + [1.0] * round(100 * gained)
    needed = needed_for_retention(after + [0.0] * (1000 - len(after)), before, 0.9)
    assert needed is not None

    def p_value(noise: random.Random, n: int) -> float | None:
        was = [float(noise.random() < 0.9) for _ in range(n)]
        return retention_p([float(noise.random() < (kept if old else gained)) for old in was], was, 0.9)

    assert 0.7 <= _power(p_value, needed) <= (0.9 if kept < 1 else 1.0)
    assert _power(p_value, needed // 2) < 0.65


def _power_of_wilson(n: int, rate: float, threshold: float) -> float:
    intervals = [wilson(successes, n) for successes in range(n + 1)]
    chances = binom.pmf(range(n + 1), n, rate)
    told = [each.low > threshold or each.high < threshold for each in intervals]
    return sum(float(chance) for chance, concludes in zip(chances, told, strict=True) if concludes)


def _power(p_value: Callable[[random.Random, int], float | None], n: int) -> float:
    """How often one side or the other is excluded at 2.5 %."""
    noise = random.Random(n)
    found = [p_value(noise, n) for _ in range(TRIALS)]
    return sum(p is not None and not 0.025 < p < 0.975 for p in found) / TRIALS
