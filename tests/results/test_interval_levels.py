"""How often intervals of few clusters miss the truth at their worse end: the figures in the docstring of `means`."""

import math
import random
from collections.abc import Callable

import pytest

from claas.results.means import mean_interval

SAMPLES = 5000
TRUTH = {"normal": 0.0, "heavy": 0.0, "lognormal": math.exp(0.125), "exponential": 1.0}
DRAW: dict[str, Callable[[random.Random], float]] = {
    "normal": lambda noise: noise.gauss(0, 1),
    "heavy": lambda noise: noise.gauss(0, 1) / math.sqrt(noise.gammavariate(2, 0.5)),  # Student's t with 4 degrees
    "lognormal": lambda noise: noise.lognormvariate(0, 0.5),
    "exponential": lambda noise: noise.expovariate(1.0),
}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("clusters", "name", "missed"),
    [
        (5, "normal", 0.001),
        (5, "heavy", 0.001),
        (5, "lognormal", 0.009),
        (5, "exponential", 0.027),
        (10, "normal", 0.001),
        (10, "heavy", 0.001),
        (10, "lognormal", 0.013),
        (10, "exponential", 0.027),
        (20, "normal", 0.003),
        (20, "heavy", 0.002),
        (20, "lognormal", 0.017),
        (20, "exponential", 0.028),
    ],
)
def test_few_clusters_miss_the_truth_as_often_as_the_docstring_says(clusters: int, name: str, missed: float) -> None:
    noise = random.Random(f"{clusters}/{name}")
    above = below = 0
    for _ in range(SAMPLES):
        interval = mean_interval([DRAW[name](noise) for _ in range(clusters)])
        assert interval is not None
        above += interval.low > TRUTH[name]
        below += interval.high < TRUTH[name]
    chance = 4 * math.sqrt(missed * (1 - missed) * (1 / SAMPLES + 1 / 20000))
    assert max(above, below) / SAMPLES == pytest.approx(missed, abs=chance)
