"""Small drawings and small numbers: where things are on the canvas, and how they are written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claas.dashboard.drawings import HEIGHT, WIDTH, IntervalBar, interval_bar, sparkline
from claas.dashboard.pages import (
    capitalized,
    settings,
)
from claas.results.numbers import compact, figure, number, percent
from claas.results.verdict import Ruling, Verdict

numbers = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def ruling(value: float | None, ci: tuple[float, float] | None, threshold: float) -> Ruling:
    return Ruling(
        value=value,
        ci=ci,
        relation=">",
        threshold=threshold,
        n=5,
        p=None,
        p_holm=None,
        verdict=Verdict.PASS,
        formula="",
    )


def test_a_curve_runs_from_left_to_right_and_up_with_its_value() -> None:
    assert sparkline({0: 0.0, 1: 0.5, 2: 1.0}, 2) == ["2.0,22.0 60.0,12.0 118.0,2.0"]
    assert sparkline({0: 0.0, 1: 0.25}, 4) == ["2.0,22.0 31.0,17.0"]


def test_what_was_lost_breaks_the_line() -> None:
    assert sparkline({3: 0.0, 2: None, 1: 1.0, 0: 1.0}, 3) == ["2.0,2.0 40.7,2.0", "118.0,22.0"]
    assert sparkline({0: None}, 3) == sparkline({}, 3) == []


@given(st.dictionaries(st.integers(0, 500), st.none() | numbers, max_size=20), st.integers(0, 300))
def test_a_curve_stays_on_its_canvas(curve: dict[int, float | None], planned: int) -> None:
    lines = sparkline(curve, planned)
    points = [tuple(map(float, point.split(","))) for line in lines for point in line.split()]
    assert len(points) == sum(value is not None for value in curve.values())
    assert all(0 <= across <= WIDTH and 0 <= down <= HEIGHT for across, down in points)
    assert all(re.fullmatch(r"\d+\.\d,\d+\.\d", point) for line in lines for point in line.split())


def test_an_interval_and_its_threshold_share_a_scale() -> None:
    assert interval_bar(ruling(6.0, (4.0, 10.0), 0.0)) == IntervalBar(
        low=41.67, high=91.67, value=58.33, threshold=8.33
    )
    assert interval_bar(ruling(None, None, 3.0)) == IntervalBar(low=None, high=None, value=None, threshold=50.0)
    assert interval_bar(ruling(3.0, None, 3.0)) == IntervalBar(low=None, high=None, value=50.0, threshold=50.0)


@given(st.none() | numbers, st.none() | st.tuples(numbers, numbers), numbers)
def test_an_interval_stays_on_its_canvas_in_order(
    value: float | None, ends: tuple[float, float] | None, threshold: float
) -> None:
    ci = None if ends is None else (min(ends), max(ends))
    bar = interval_bar(ruling(value, ci, threshold))
    places = {bar.threshold: threshold} | ({} if value is None or bar.value is None else {bar.value: value})
    assert (bar.value is None, bar.low is None, bar.high is None) == (value is None, ci is None, ci is None)
    shown = [each for each in (bar.low, bar.high, bar.value, bar.threshold) if each is not None]
    assert all(0 <= each <= 100 for each in shown)
    assert sorted(places) == sorted(places, key=lambda place: places[place])
    if bar.low is not None and bar.high is not None:
        assert bar.low <= bar.high


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0.00"), (0.98, "0.98"), (0.0123, "0.012"), (73.94, "73.9"), (1240.4, "1240"), (-0.5, "-0.50")],
)
def test_numbers(value: float | None, shown: str) -> None:
    assert number(value) == shown


def test_figures_shares_and_counts() -> None:
    assert [figure(value) for value in (3, 3.0, 0.8, 0.00012345, 1234567, 1e12)] == [
        "3", "3", "0.8", "0.0001234", "1234567", "1e+12",
    ]  # fmt: skip
    assert [percent(value) for value in (None, 0.0, 0.944, 1.0)] == ["–", "0 %", "94 %", "100 %"]
    assert [compact(value) for value in (0, 950, 12345, 4_560_000, 7.8e9)] == ["0", "950", "12.3k", "4.56M", "7.8G"]


def test_words_and_settings() -> None:
    assert [capitalized(text) for text in ("", "needs n ≥ 5", "ROUGE")] == ["", "Needs n ≥ 5", "ROUGE"]
    nested = {"seed": 1, "training": {"alpha": 0.5, "more": {"x": None}}, "metrics": ["all"], "none": {}}
    assert dict(settings(nested)) == {
        "seed": "1",
        "training.alpha": "0.5",
        "training.more.x": "null",
        "metrics": '["all"]',
    }
