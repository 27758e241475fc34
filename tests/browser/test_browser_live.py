"""A run in progress, watched: the page follows its records without a reload, and what the reader does stays."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claas.results import summary
from claas.results.numbers import duration
from claas.results.progress import ProgressLine, columns, seconds_left
from claas.results.records import History, Metadata
from claas.results.run_files import RunFiles
from claas.results.settings import EvalConfig
from tests.browser.plotted import points_drawn
from tests.browser.shown_runs import address
from tests.browser.site import Site
from tests.browser.visits import Page, Profiles, Visitor, until
from tests.dashboard.written_runs import few, timed, worked_on, write_run

pytestmark = pytest.mark.browser

STEPS = 6
AT_S = [10.0, 14.0, 22.0, 29.0, 36.0, 43.0, 50.0]
REFUSED = "console error: Failed to load resource: net::ERR_CONNECTION_REFUSED"


def whole(name: str) -> History:
    """A preference that is done: a step takes 4 to 8 seconds."""
    history = timed(few(name, steps=STEPS), AT_S, [20.0] * STEPS)
    late = tuple(_with_late_metric(step) if step.step >= 3 else step for step in history.steps)
    return replace(history, steps=late)


def _with_late_metric(step: Any) -> Any:
    return step.model_copy(update={"eval": {**step.eval, "late": {"metric": 0.25 * step.step}}})


class LiveRun:
    """A run's folder as the harness fills it; `line` is what the terminal shows of its first preference."""

    def __init__(self, folder: Path) -> None:
        self.history, self.other = whole("concise"), whole("identity")
        self.files, self.done = RunFiles(folder), 0
        self.let_go: Callable[[], None] = lambda: None
        self.config: EvalConfig = write_run(
            folder, {"concise": replace(self.history, steps=())}, summarised=False, preferences=["concise", "identity"]
        )

    def step(self) -> None:
        """The next step's record is written."""
        self.files.preference("concise").append_step(self.history.steps[self.done])
        self.done += 1

    def complete(self) -> None:
        """The rest is written, and the summary, and the harness ends."""
        while self.done < STEPS:
            self.step()
        other = self.files.preference("identity")
        other.root.mkdir()
        assert self.other.baseline is not None
        other.write_metadata(Metadata(preference="identity", lora_id="x", run_id="live", config={}))
        other.write_baseline(self.other.baseline)
        for step in self.other.steps:
            other.append_step(step)
        histories = {"concise": self.history, "identity": self.other}
        summary.write(self.files.root, summary.build_summary("live", self.config, histories))
        self.let_go()

    @property
    def line(self) -> ProgressLine:
        line = ProgressLine("concise", STEPS, self.history.keys, self.config.criteria)
        assert self.history.baseline is not None
        line.measured(self.history.baseline)
        for number, step in enumerate(self.history.steps[: self.done]):
            line.finished(step, AT_S[number + 1] - AT_S[number])
        return line

    @property
    def left(self) -> str:
        """The time left for the whole run, as the terminal says it."""
        waiting = ProgressLine("identity", STEPS, self.history.keys, self.config.criteria)
        found = seconds_left([self.line, waiting], 1)
        assert found is not None
        return duration(found)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """One that a test may stop."""
    site = Site(tmp_path / "runs", tmp_path / "api")
    site.start()
    yield site
    if site.is_up:
        site.stop()


@pytest.fixture
def run(site: Site) -> Iterator[LiveRun]:
    site.results.mkdir()
    run = LiveRun(site.results / "live")
    with ExitStack() as held:
        held.enter_context(worked_on(run.files.root))
        run.let_go = held.close
        yield run


@contextmanager
def reading(profiles: Profiles, site: Site, tmp_path: Path, expected: tuple[str, ...] = ()) -> Iterator[Page]:
    """The run's page, marked: a reload would wipe the mark off."""
    visitor = Visitor(profiles, site.url, tmp_path)
    with visitor.visit(address("/run", run="live"), ignored=expected) as page:
        page.evaluate("window.mark = 'still here'")
        yield page
        assert page.evaluate("window.mark") == "still here"


def shown(page: Page) -> list[str]:
    """The first preference's row of the progress table."""
    return page.locator("[aria-labelledby=progress-title] tbody tr").first.locator("th, td").all_inner_texts()


def expected_row(run: LiveRun) -> list[str]:
    line = run.line
    cells = [line.cell(column) for column in columns(run.history.keys)]
    return ["concise", f" {line.done}/{STEPS}", *cells, line.time_left(), "running"]


def until_done(page: Page, done: int) -> None:
    until(page, f"document.querySelector('progress').value === {done}")


def test_progress_and_time_left_are_the_terminal_s(
    profiles: Profiles, site: Site, run: LiveRun, tmp_path: Path
) -> None:
    with reading(profiles, site, tmp_path) as page:
        assert [cell.strip() for cell in shown(page)] == [cell.strip() for cell in expected_row(run)]
        for _ in range(3):
            run.step()
            until_done(page, run.done)
            assert [cell.strip() for cell in shown(page)] == [cell.strip() for cell in expected_row(run)]
            title = page.locator("#progress-title").inner_text()
            assert re.fullmatch(f"Progress about {run.left} left", title)


def test_what_the_reader_has_opened_zoomed_and_focused_stays(
    profiles: Profiles, site: Site, run: LiveRun, tmp_path: Path
) -> None:
    for _ in range(3):
        run.step()
    with reading(profiles, site, tmp_path) as page:
        numbers = page.locator("[data-fold='compliance/numbers'] > summary")
        numbers.click()
        page.locator("#steps summary").first.click()
        page.locator("[data-fold='concise/heldout_compliance'] > summary").click()
        page.locator("#config-title ~ details summary").click()
        page.locator("#steps a[data-step='1']").focus()
        plot = page.locator("[data-chart='compliance/preference_compliance']")
        plot.scroll_into_view_if_needed()
        plot.locator(".points path").first.wait_for(state="attached")
        page.evaluate(f"Plotly.relayout({PLOT}, {{'xaxis.range': [1, 2.5], 'yaxis.range': [0.2, 0.9]}})")
        before = points_drawn(page)["compliance/preference_compliance"]
        open_before = page.locator("details[open]").count()
        run.step()  # the first with a metric that was not there before
        page.locator("[data-chart='other/late.metric']").wait_for(state="attached")
        run.step()
        until_done(page, 5)
        until(
            page,
            f"{PLOT}.data.some((trace) => trace.x.length > 5)",
        )
        assert page.evaluate(f"[...{PLOT}.layout.xaxis.range, ...{PLOT}.layout.yaxis.range]") == [1, 2.5, 0.2, 0.9]
        assert page.locator("details[open]").count() == open_before == 4
        assert page.evaluate("document.activeElement.dataset.step") == "1"
        assert page.locator("#steps tbody tr").count() == 6
        assert page.locator("[data-fold='compliance/numbers'] tbody tr").count() == 2 * 6
        page.locator("[data-fold=other] > summary").click()
        late = page.locator("[data-chart='other/late.metric']")
        late.scroll_into_view_if_needed()
        late.locator(".points path").first.wait_for(state="attached")
        assert points_drawn(page)["other/late.metric"] == 2
        plot.scroll_into_view_if_needed()
        plot.dblclick()
        until(page, f"{PLOT}.layout.xaxis.range[0] < 0")
        assert points_drawn(page)["compliance/preference_compliance"] == before + 2


def test_a_complete_run_is_asked_for_no_more(profiles: Profiles, site: Site, run: LiveRun, tmp_path: Path) -> None:
    with reading(profiles, site, tmp_path) as page:
        run.complete()
        until(page, "document.querySelectorAll('.preference').length === 2")
        until(page, "document.querySelector('h1 .mark').textContent === 'complete'")
        asked: list[str] = []
        page.on("request", lambda it: asked.append(it.url))
        assert page.locator("#progress-title").count() == 0
        assert page.locator("#charts-series label").count() == 2
        page.wait_for_timeout(3000)
        assert asked == []


def test_an_api_that_goes_away_and_comes_back(profiles: Profiles, site: Site, run: LiveRun, tmp_path: Path) -> None:
    with reading(profiles, site, tmp_path, expected=(REFUSED,)) as page:
        run.step()
        until_done(page, 1)
        site.stop()
        run.step()
        page.wait_for_timeout(2500)
        assert page.locator("progress").first.evaluate("each => each.value") == 1
        site.start()
        until_done(page, 2)


PLOT = "document.querySelector(\"[data-chart='compliance/preference_compliance']\")"
