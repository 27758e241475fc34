"""Charts say what the records say: every number, band, threshold and gap, whatever the curves are called."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from plotly.graph_objects import Figure

import claas.dashboard
from claas.dashboard.charts import Chart, Charts, charts_of
from claas.dashboard.pages import TEMPLATES
from claas.results.charts import COLOURS, from_transcripts, intervals_of, mean_name
from claas.results.estimates import estimate
from claas.results.keys import judged
from claas.results.records import History, flat
from claas.results.statistics import Interval
from tests.results.synthetic_runs import Collapsing, World, make_history

HOSTILE = """</script><script>alert(1)</script><b>bold</b>&lt;%{y}"'\u2028"""
GAIN = "margins/logprob_margin.margin_delta_from_baseline"
HELD_OUT = "compliance/heldout_compliance"
ENTROPY = "collapse/collapse.entropy_ratio_to_baseline"
CAPABILITY = "forgetting/general.capability_pass_rate"


class Weaker(World):
    ability = staticmethod(lambda t: 0.6)


def losing(history: History, *steps: int) -> History:
    """The history, had held-out compliance been due and lost at these steps."""
    changed = [
        step.model_copy(update={"eval": {**step.eval, "heldout_compliance": None}}) if step.step in steps else step
        for step in history.steps
    ]
    return replace(history, steps=tuple(changed))


def drawn(histories: Mapping[str, History]) -> Charts:
    return charts_of(histories, {}, from_transcripts(0.95))


def by_id(shown: Charts) -> dict[str, Chart]:
    return {chart.id: chart for group in shown.groups for chart in group.charts}


def traces(chart: Chart, role: str) -> dict[int, dict[str, Any]]:
    return {trace["meta"]["series"]: trace for trace in chart.figure["data"] if trace["meta"]["role"] == role}


def points(trace: Mapping[str, Any]) -> dict[int, float | None]:
    return dict(zip(trace["x"], trace["y"], strict=True))


def page(shown: Charts, images: Mapping[str, str] | None = None) -> str:
    macros: Any = TEMPLATES.get_template("charts.html").module
    return str(macros.charts(shown, images or {})) + str(macros.chart_scripts())


@pytest.fixture(scope="module")
def two() -> dict[str, History]:
    return {
        "concise": losing(make_history(steps=8), 2, 3, 6),
        "identity": make_history(Collapsing(), "identity", steps=8, done=5),
    }


@pytest.fixture(scope="module")
def charts(two: dict[str, History]) -> Charts:
    return drawn(two)


def test_every_number_is_the_record_s_with_baseline_at_zero(two: dict[str, History], charts: Charts) -> None:
    starts = {GAIN: 0.0, ENTROPY: 1.0, "collapse/collapse.mean_logprob_drift": 0.0}
    starts |= {"forgetting/drift.kl_k3": 0.0, "forgetting/drift.off_task_kl_k3": 0.0}
    for chart in by_id(charts).values():
        group, _, key = chart.id.partition("/")
        for index, history in enumerate(two.values()):
            trained = {step.step + 1: step.sdpo_metrics.get(key) for step in history.steps}
            expected = trained if group == "training" else history.curve(key)
            if chart.id in starts:
                expected = {0: starts[chart.id], **expected}
            assert points(traces(chart, "value")[index]) == expected, chart.id


def test_everything_that_was_measured_is_drawn(two: dict[str, History], charts: Charts) -> None:
    keys = {chart.id.partition("/")[2] for chart in by_id(charts).values()}
    for history in two.values():
        assert keys >= set(history.known_keys())
        assert keys >= set(history.steps[0].sdpo_metrics)
    assert [group.name for group in charts.groups if group.folded] == ["training", "other"]


def test_what_was_lost_is_a_gap_and_a_cross_beside_the_values(charts: Charts) -> None:
    chart = by_id(charts)[HELD_OUT]
    values = points(traces(chart, "value")[0])
    assert [updates for updates, value in values.items() if value is None] == [3, 4, 7]
    assert not any(trace["connectgaps"] for trace in chart.figure["data"])
    lost = traces(chart, "lost")
    assert (list(lost), lost[0]["x"], lost[0]["yaxis"]) == ([0], [3, 4, 7], "y2")
    assert chart.has_lost
    assert not by_id(charts)[GAIN].has_lost


def test_what_was_not_due_is_no_gap(charts: Charts) -> None:
    values = points(traces(by_id(charts)["collapse/collapse.self_rouge_l"], "value")[0])
    assert list(values) == [0, 1, 4, 7, 8]
    assert None not in values.values()


@pytest.mark.parametrize(
    ("chart", "criterion", "runs"),
    [(GAIN, "margin_gain", 1), (HELD_OUT, "heldout_compliance", 3), (ENTROPY, "entropy_ratio", 1)],
)
def test_a_band_is_the_criterion_s_interval_with_gaps_where_nothing_was_measured(
    two: dict[str, History], charts: Charts, chart: str, criterion: str, runs: int
) -> None:
    history, band = two["concise"], traces(by_id(charts)[chart], "band")[0]
    ends: dict[int, set[float]] = {}
    for updates, height in zip(band["x"], band["y"], strict=True):
        if updates is not None:
            ends.setdefault(updates, set()).add(height)
    assert band["x"].count(None) == band["y"].count(None) == runs - 1
    [key] = [key for key, each in judged(history.keys) if each.name == criterion]
    known = [
        updates for updates, value in points(traces(by_id(charts)[chart], "value")[0]).items() if value is not None
    ]
    for updates in known:
        found = estimate(key, history.rollouts(updates), history.rollouts(0), 0.0, 0.95).interval
        if updates == 0 and criterion != "heldout_compliance":
            found = Interval(1.0, 1.0) if criterion == "entropy_ratio" else Interval(0.0, 0.0)
        assert found is not None
        assert ends.pop(updates) == {found.low, found.high}
    assert not ends


def test_intervals_can_come_from_where_somebody_kept_them(two: dict[str, History]) -> None:
    kept = {
        (history.preference, updates): intervals_of(
            record.rollouts, history.rollouts(0), history.keys, flat(record.eval).keys(), 0.95
        )
        for history in two.values()
        for updates, record in [(0, history.baseline), *((step.step + 1, step) for step in history.steps)]
        if record is not None
    }

    def looked_up(history: History, updates: int, name: str) -> Interval | None:
        found = kept[history.preference, updates].get(name)
        return Interval(*found) if found else None

    def light(history: History) -> History:
        steps = tuple(step.model_copy(update={"rollouts": []}) for step in history.steps)
        baseline = history.baseline and history.baseline.model_copy(update={"rollouts": []})
        return replace(history, baseline=baseline, steps=steps)

    without = {name: light(history) for name, history in two.items()}
    assert charts_of(without, {}, looked_up) == drawn(two)


def test_a_criterion_that_was_not_due_has_no_interval_and_one_without_data_has_none() -> None:
    history = make_history(steps=1)
    graded = [each for each in history.rollouts(0) if each.metric == "compliance"]
    found = intervals_of(graded, graded, history.keys, {"heldout_compliance", "logprob_margin.margin"}, 0.95)
    assert set(found) == {"heldout_compliance", "margin_gain", mean_name("logprob_margin.margin")}
    assert found["margin_gain"] is None
    assert found[mean_name("logprob_margin.margin")] is None
    assert found["heldout_compliance"] is not None


def test_thresholds_and_alert_zones_stand_where_the_criteria_say(charts: Charts) -> None:
    shapes = {
        id: {shape["name"]: shape for shape in chart.figure["layout"]["shapes"]} for id, chart in by_id(charts).items()
    }
    assert set(shapes[GAIN]) == {"threshold"}
    assert shapes[GAIN]["threshold"]["y0"] == shapes[GAIN]["threshold"]["y1"] == 2.0
    assert by_id(charts)[GAIN].rule == "criterion: > 2"
    zones = {id: found["alarm"] for id, found in shapes.items() if "alarm" in found}
    assert {id.rpartition(".")[2]: zone["y0"] for id, zone in zones.items()} == {
        "entropy_ratio_to_baseline": 0.6,
        "self_rouge_l": 0.85,
        "mean_logprob_drift": 2.0,
    }
    for id, zone in zones.items():
        low, high = by_id(charts)[id].figure["layout"]["yaxis"]["range"]
        assert zone["y1"] < low if id == ENTROPY else zone["y1"] > high
    assert shapes["compliance/preference_compliance"]["threshold"]["y0"] == 0.8
    assert not shapes["forgetting/general.general_score"]


def test_a_threshold_relative_to_baseline_is_each_curve_s_own() -> None:
    alike = drawn({"a": make_history(steps=2), "b": make_history(World(1), steps=2)})
    apart = drawn({"a": make_history(steps=2), "b": make_history(Weaker(), steps=2)})
    lines = [
        {shape["name"]: shape["y0"] for shape in by_id(shown)[CAPABILITY].figure["layout"]["shapes"]}
        for shown in (alike, apart)
    ]
    assert lines == [{"threshold": 0.9 * 0.9}, {"threshold/0": 0.9 * 0.9, "threshold/1": 0.9 * 0.6}]


def test_everything_is_within_the_axes_also_for_one_curve_alone(charts: Charts) -> None:
    for chart in by_id(charts).values():
        layout = chart.figure["layout"]
        low, high = layout["yaxis"]["range"]
        alone = layout["meta"]["ranges"]
        for index, trace in traces(chart, "value").items():
            heights = [height for height in trace["y"] if height is not None]
            assert low < min(heights) or low == min(heights) == 0.0, chart.id
            assert max(heights) < high, chart.id
            assert alone[index][0] <= min(heights) <= max(heights) <= alone[index][1], chart.id
        assert layout["xaxis"]["range"][0] < 0
        assert layout["xaxis"]["range"][1] > 8


def test_a_curve_without_data_fits_any_axis_and_one_value_has_room() -> None:
    shown = drawn({"a": make_history(steps=2), "b": History("b", 2, failure="no server")})
    for chart in by_id(shown).values():
        assert chart.figure["layout"]["meta"]["ranges"][1] is None
        low, high = chart.figure["layout"]["yaxis"]["range"]
        assert low < high
    assert (shown.series[0].note, shown.series[1].note) == (None, "ended: 0 of 2 steps")


def test_nothing_measured_is_no_chart() -> None:
    assert drawn({"a": History("a", 2, failure="no server")}).groups == ()
    assert drawn({}).groups == ()


def test_series_stay_apart_however_many_there_are() -> None:
    history = make_history(steps=2)
    shown = drawn({f"run-{number} · concise": history for number in range(30)})
    looks = {(each.colour, each.marker, each.dash) for each in shown.series}
    assert len(looks) == 30
    assert len({(each.colour, each.marker, each.dash) for each in shown.series[:7]}) == len(COLOURS)
    assert {each.dash for each in shown.series[:7]} == {"solid"}
    for index, trace in traces(by_id(shown)[HELD_OUT], "value").items():
        assert (trace["marker"]["symbol"], trace["line"]["dash"]) == (
            shown.series[index].marker,
            shown.series[index].dash,
        )


def test_the_style_sheet_has_the_colours_of_the_pictures_in_their_order() -> None:
    style = Path(claas.dashboard.__file__).with_name("templates").joinpath("charts.css").read_text()
    light = dict(re.findall(r"--series-(\d): (#\w+);", style.split("/* Charts.")[1].split("@media")[0]))
    assert light == {str(index): colour for index, colour in enumerate(COLOURS)}


def test_a_long_curve_has_every_value_and_few_markers_but_each_lonely_point_has_one() -> None:
    history = losing(make_history(steps=100), 48, 50)
    chart = by_id(drawn({"a": history, "b": history}))[HELD_OUT]
    value, marks = traces(chart, "value")[0], traces(chart, "marks")[0]
    assert points(value) == history.curve("heldout_compliance")
    assert value["mode"] == "lines"
    assert len(marks["x"]) < 40
    assert 50 in marks["x"]
    assert points(marks).items() <= points(value).items()
    assert not set(marks["x"]) - {50} <= set(traces(chart, "marks")[1]["x"])


def test_plotly_knows_every_part_of_every_figure(charts: Charts) -> None:
    for chart in by_id(charts).values():
        Figure(data=chart.figure["data"], layout=chart.figure["layout"])
    long = drawn({"a": losing(make_history(steps=40), 3)})
    for chart in by_id(long).values():
        Figure(data=chart.figure["data"], layout=chart.figure["layout"])


def test_traces_are_told_apart_by_names_that_plotly_can_put_into_a_selector(charts: Charts) -> None:
    for chart in by_id(charts).values():
        uids = [trace["uid"] for trace in chart.figure["data"]]
        assert len(set(uids)) == len(uids)
        assert all(re.fullmatch(r"[a-z]+-\d+", uid) for uid in uids)


def test_names_are_text_to_plotly_and_to_the_page() -> None:
    shown = drawn({HOSTILE: losing(make_history(steps=3), 1), "b" * 500: make_history(steps=3)})
    for chart in by_id(shown).values():
        for trace in chart.figure["data"]:
            assert not re.search(r"[<>]|&(?!amp;|lt;|gt;)", trace["name"])
            assert len(trace["name"]) < 200
            assert (trace["name"][0], trace["name"][-1]) == ("\u2068", "\u2069"), "its direction is its own"
            assert trace["name"] not in trace.get("hovertemplate", ""), "a name is never a template"
    html = page(shown)
    data = re.search(r'<script type="application/json" id="charts-data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    assert json.loads(data[1]) == json.loads(json.dumps(shown.data))
    assert json.loads(data[1])["series"][0]["name"] == HOSTILE
    assert html.count("<script") == 4, "the data, plotly and our own two"
    assert "<b>bold" not in html
    assert "<script>alert(1)" not in html


def test_the_same_numbers_are_in_a_table_and_in_words(charts: Charts) -> None:
    chart = by_id(charts)[HELD_OUT]
    assert [row.updates for row in chart.rows] == list(range(9))
    assert chart.rows[3].cells == ("lost", chart.rows[3].cells[1])
    assert chart.rows[8].cells == ("1 [0.9434, 1]", "")
    assert chart.summary.startswith(
        "Held-out prompts, mean verifier score: concise 1 [0.9434, 1] after 8 updates; identity "
    )
    html = page(charts, {"margins": "/a?b&c"})
    assert '<th scope="row">8</th><td>1 [0.9434, 1]</td><td>not due</td>' in html
    assert html.count("<table") == len(by_id(charts))
    assert '<noscript class="still"><img class="still" src="/a?b&amp;c"' in html


def test_pictures_and_charts_are_made_without_a_drawing_library() -> None:
    program = "import sys, claas.dashboard.charts; print([name for name in sys.modules if name in sys.argv])"
    done = subprocess.run(
        [sys.executable, "-c", program, "matplotlib", "plotly"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
