"""Pictures are drawn of what there is, with gaps where something is missing, and not at all of nothing."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from claas.bench.scan.settings import ScanConfig
from claas.core.errors import InvalidInput
from claas.results.charts import COLOURS, Panel, from_transcripts, intervals_of, mean_name, pictures
from claas.results.evidence import by_item
from claas.results.figure import without_constants, write_plots
from claas.results.look import look_of
from claas.results.records import History
from claas.results.settings import EvalConfig, recorded_config
from claas.results.statistics import Interval, wilson
from tests.results.synthetic_runs import Collapsing, make_history

CONFIG = EvalConfig(preferences=["concise"], num_steps=4).resolved()
BANDS = from_transcripts(0.95)


def with_gap(history: History, key: str, step: int) -> History:
    steps = list(history.steps)
    steps[step] = steps[step].model_copy(update={"eval": {**steps[step].eval, key: None}})
    return replace(history, steps=tuple(steps))


def test_every_picture_of_a_run_is_written_and_shows_something(tmp_path: Path) -> None:
    histories = {"concise": make_history(steps=4), "identity": make_history(Collapsing(), "identity", steps=4, done=2)}
    written = write_plots(tmp_path, "a-run", CONFIG, histories)
    names = ["margins", "compliance", "collapse", "forgetting", "training", "other"]
    assert written == [tmp_path / "plots" / f"{name}.png" for name in names]
    for path in written:
        pixels = imread(path)
        assert pixels.shape[1] > 900
        coloured = np.ptp(pixels[..., :3], axis=2) > 0.2
        assert coloured.mean() > 0.001, f"{path.name} shows no curve"
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == sorted(path.name for path in written)


def test_what_happens_out_of_scope_is_shown_beside_compliance() -> None:
    compliance = pictures({}, {"concise": History("concise", 4)}, BANDS)[1]
    keys = ["heldout_compliance", "preference_compliance", "over_application_rate"]
    assert [panel.key for panel in compliance.panels] == keys


def test_nothing_measured_draws_nothing(tmp_path: Path) -> None:
    assert write_plots(tmp_path, "a-run", CONFIG, {"concise": History("concise", 4, failure="no server")}) == []
    assert not (tmp_path / "plots").exists()


def test_a_picture_whose_data_are_all_absent_is_not_written(tmp_path: Path) -> None:
    history = make_history(steps=2)
    assert history.baseline is not None
    values = {"heldout_compliance": 0.5}
    steps = tuple(step.model_copy(update={"eval": values, "sdpo_metrics": {}}) for step in history.steps)
    history = replace(history, baseline=history.baseline.model_copy(update={"eval": values}), steps=steps)
    assert [path.name for path in write_plots(tmp_path, "a-run", CONFIG, {"concise": history})] == ["compliance.png"]


def test_baseline_is_at_zero_step_k_at_k_plus_one_and_a_missing_value_is_a_gap() -> None:
    history = with_gap(make_history(steps=4), "heldout_compliance", 1)
    points = Panel("heldout_compliance", "t", "l").points(history)
    assert list(points) == [0, 1, 2, 3, 4]
    assert math.isnan(points[2])
    assert Panel("heldout_compliance", "t", "l", band=lambda *_: Interval(0, 1)).intervals(history).keys() == {
        0,
        1,
        3,
        4,
    }
    assert points[1] == history.steps[0].eval["heldout_compliance"]


def test_a_whole_metric_that_is_null_is_a_gap_in_all_its_keys() -> None:
    history = with_gap(make_history(steps=4), "drift", 1)
    assert math.isnan(Panel("drift.kl_k3", "t", "l").points(history)[2])


def test_what_is_relative_to_baseline_starts_from_it() -> None:
    history = make_history(steps=4)
    gain = Panel("logprob_margin.margin_delta_from_baseline", "t", "l", at_baseline=0.0)
    assert gain.points(history)[0] == 0.0
    assert replace(gain, band=lambda *_: None).intervals(history) == {0: Interval(0.0, 0.0)}
    assert 2 not in Panel("collapse.self_rouge_l", "t", "l").points(history), "not due is not a gap"


def test_every_key_is_in_exactly_one_picture() -> None:
    history = make_history(steps=2)
    keys = [
        panel.key
        for picture in pictures({}, {"concise": history}, BANDS)
        if picture.name != "training"
        for panel in picture.panels
    ]
    assert len(keys) == len(set(keys))
    assert set(history.known_keys()) <= set(keys)


def test_the_band_of_a_curve_is_the_verdict_s_interval() -> None:
    history = make_history(steps=2)
    panels = {panel.key: panel for picture in pictures({}, {"concise": history}, BANDS) for panel in picture.panels}
    bands = {key: panel.band(history, 2) for key, panel in panels.items() if panel.band}
    heldout, capability = bands["heldout_compliance"], bands["general.capability_pass_rate"]
    assert heldout is not None
    assert heldout.low == pytest.approx(0.9434, abs=1e-4)
    assert capability is not None
    assert capability.low == pytest.approx(0.9 * 0.9036, abs=1e-3), "the retained share, times the baseline"


def test_drift_off_task_stands_beside_drift_on_task_on_the_same_scale() -> None:
    histories = {"concise": make_history(steps=4), "identity": make_history(Collapsing(), "identity", steps=4)}
    [picture] = [each for each in pictures({}, histories, BANDS) if each.name == "forgetting"]
    on, off = picture.panels[-2:]
    assert (on.key, off.key, picture.columns) == ("drift.kl_k3", "drift.off_task_kl_k3", 2)
    assert on.limits == off.limits
    highest = max(value or 0.0 for history in histories.values() for value in history.curve(on.key).values())
    assert on.limits[1] is not None
    assert on.limits[1] > highest


def test_a_paper_gets_vectors_with_their_letters_in_them(tmp_path: Path) -> None:
    config = EvalConfig(num_steps=4, plot_formats=["pdf", "svg"]).resolved()
    names = {path.name for path in write_plots(tmp_path, "r", config, {"concise": make_history(steps=4)})}
    assert {"compliance.pdf", "compliance.svg"} <= names
    assert not list(tmp_path.glob("plots/*.png"))
    pdf = (tmp_path / "plots" / "compliance.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf, "TrueType, as publishers ask for"
    assert b"/Type3" not in pdf
    svg = (tmp_path / "plots" / "compliance.svg").read_text()
    assert "<!-- Held-out prompts" in svg
    assert "<image" not in svg
    with pytest.raises(InvalidInput, match=r"unknown plot_formats .gif.; known: pdf, png, svg"):
        EvalConfig(plot_formats=["gif"])


@pytest.mark.parametrize("kind", [EvalConfig, ScanConfig])
def test_plots_of_no_format_are_refused_and_a_record_of_them_is_read(kind: type[EvalConfig] | type[ScanConfig]) -> None:
    with pytest.raises(InvalidInput, match=r"plot_formats must name at least one of png, pdf, svg, got \[\]"):
        kind(plot_formats=[])
    assert recorded_config({"plot_formats": []}).plot_formats == ["png"]


def test_a_mean_without_a_criterion_has_its_interval_as_a_band_and_what_has_no_items_none() -> None:
    history = make_history(steps=2)
    panels = {panel.key: panel for picture in pictures({}, {"concise": history}, BANDS) for panel in picture.panels}
    probe, missed = panels["preference_compliance"], panels["over_application_rate"]
    key = next(key for key in history.keys if key.key == probe.key)
    assert key.items is not None
    scores = [value for value in by_item(history.rollouts(1), key.items).values() if value is not None]
    assert probe.intervals(history)[1] == wilson(sum(scores), len(scores))
    assert missed.intervals(history).keys() == missed.points(history).keys()
    assert panels["logprob_margin.margin_per_token"].band is None
    due = {probe.key}
    [(name, ends)] = intervals_of(history.rollouts(1), history.rollouts(0), history.keys, due, 0.95).items()
    assert name == mean_name(probe.key), "an index keeps it under the name that curves ask for"
    assert ends is not None
    assert Interval(*ends) == wilson(sum(scores), len(scores))


def test_what_never_changes_is_named_with_its_value_and_what_does_is_drawn_under_words() -> None:
    history = make_history(steps=3)
    reported = [{"batch_size": 4.0, "grad_norm": 0.1 * step, "mine": 2.0, "lost": math.nan} for step in range(3)]
    steps = (step.model_copy(update={"sdpo_metrics": each}) for step, each in zip(history.steps, reported, strict=True))
    histories = {"concise": replace(history, steps=tuple(steps))}
    [training] = [each for each in pictures({}, histories, BANDS) if each.name == "training"]
    changing, constants = without_constants(training, histories)
    assert [panel.title for panel in changing.panels] == ["Gradient norm", "lost"], "what was lost is no constant"
    assert constants == {"Batch size": 4.0, "mine": 2.0}
    still = {"concise": replace(histories["concise"], steps=histories["concise"].steps[:1])}
    assert without_constants(training, still) == (training, {}), "one update alone has no constants"


def test_in_print_every_panel_is_as_wide_as_a_column_allows_and_curves_stay_apart_in_grey() -> None:
    look = look_of("paper")
    one, three, four = (look.sheet(panels, 3, ["concise", "identity"]) for panels in (1, 3, 4))
    assert (one.width, three.width, four.width) == pytest.approx((3.3, 3.3, 6.8))
    assert [(page.columns, page.rows) for page in (one, three, four)] == [(1, 1), (1, 3), (2, 2)]
    assert len({(page.across, page.down) for page in (one, three, four)}) == 1, "panels of all pictures are of a size"
    curves = [look.curve(index) for index in range(28)]
    assert len({(curve["marker"], curve["linestyle"]) for curve in curves[:7]}) == 7, "without their colours"
    assert len({tuple(map(str, curve.values())) for curve in curves}) == 28
    assert {curve["color"] for curve in curves[:7]} == set(COLOURS)


def test_a_style_file_is_added_to_paper_and_one_that_is_none_says_so(tmp_path: Path) -> None:
    path = tmp_path / "mine.mplstyle"
    path.write_text(
        "font.size: 6\nfigure.figsize: 5.5, 2\naxes.prop_cycle: cycler('color', ['k', 'r'])\nbackend: pdf\n"
    )
    look = look_of(str(path))
    assert look.in_print
    assert look.rc["font.size"] == 6
    assert look.sheet(1, 3).width == pytest.approx(5.5)
    assert [look.colour(index) for index in range(3)] == ["k", "r", "k"]
    assert look.curve(0) != look.curve(2)
    assert "backend" not in look.rc
    path.write_text("font.size: large-ish\n")
    with pytest.raises(InvalidInput, match=r"mine\.mplstyle cannot be used as a style"):
        look_of(str(path))
    with pytest.raises(
        InvalidInput, match=r"plot_style must be screen, paper or the path of a \.mplstyle file, got 'gg'"
    ):
        EvalConfig(plot_style="gg")
