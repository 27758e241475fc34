"""How often intervals of few clusters miss the truth at their worse end: the figures in the docstring of `means`."""

import math
import random
from collections.abc import Callable

import pytest

from claas.results.means import mean_interval

SAMPLES = 1500
TRUTH = {"normal": 0.0, "heavy": 0.0, "lognormal": math.exp(0.125), "beta": 0.85}
DRAW: dict[str, Callable[[random.Random], float]] = {
    "normal": lambda noise: noise.gauss(0, 1),
    "heavy": lambda noise: noise.gauss(0, 1) / math.sqrt(noise.gammavariate(2, 0.5)),  # Student's t with 4 degrees
    "lognormal": lambda noise: noise.lognormvariate(0, 0.5),
    "beta": lambda noise: noise.betavariate(0.85 * 11.75, 0.15 * 11.75),  # spread 0.1
}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("clusters", "name", "missed"),
    [
        (5, "normal", 0.014),
        (5, "heavy", 0.016),
        (5, "lognormal", 0.048),
        (5, "beta", 0.040),
        (10, "normal", 0.024),
        (10, "heavy", 0.019),
        (10, "lognormal", 0.048),
        (10, "beta", 0.033),
        (20, "normal", 0.020),
        (20, "heavy", 0.021),
        (20, "lognormal", 0.038),
        (20, "beta", 0.028),
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
    chance = 4 * math.sqrt(missed * (1 - missed) * (1 / SAMPLES + 1 / 6000))
    assert max(above, below) / SAMPLES == pytest.approx(missed, abs=chance)
