"""One measurement as a page, and as the part of a page that other pages take in."""

from claas.core.errors import NotFound
from claas.dashboard.addresses import Addresses
from claas.dashboard.index.points import read_measurement
from claas.dashboard.index.run_index import RunIndex
from claas.dashboard.pages import render
from claas.dashboard.steps.step_choice import Asked
from claas.dashboard.steps.step_view import Course, StepView, step_view
from claas.eval.records import Baseline, StepRecord


def recorded_step_page(run: RunIndex, preference: str, asked: Asked, addresses: Addresses) -> str:
    """HTML of what is asked for of a run; `NotFound` where nothing of the kind is on record."""
    if preference not in run.points:
        raise NotFound(f"the run {run.name} has no preference {preference!r}; it has {', '.join(run.points) or 'none'}")

    def link(place: Asked) -> str:
        return addresses.transcripts(run.name, preference, place.query())

    record, baseline = read_with_baseline(run, preference, asked.updates)
    step = record if isinstance(record, StepRecord) else None
    view = step_view(course_of(run, preference), baseline, step, asked, link)
    return step_page(view, run.name, addresses.run(run.name))


def read_with_baseline(run: RunIndex, preference: str, updates: int) -> tuple[Baseline | StepRecord, Baseline]:
    """What was measured after so many updates, and before any, with all transcripts."""
    points, files = run.points[preference], run.files.preference(preference)
    record = read_measurement(files, points, updates)
    baseline = record if isinstance(record, Baseline) else read_measurement(files, points, 0)
    assert isinstance(baseline, Baseline)
    return record, baseline


def course_of(run: RunIndex, preference: str) -> Course:
    """How far a preference has come."""
    return Course(preference, run.config.num_steps, len(run.points[preference].points))


def step_page(step: StepView, name: str, run: str) -> str:
    """HTML of the page; `run` is the address of the run's page, and `name` the run's name."""
    return render("step.html", step=step, heading="h1", run=run, name=name)


def step_fragment(step: StepView) -> str:
    """HTML of what the page shows, to be put into another one, which has its own main heading."""
    return render("step_body.html", step=step, heading="h2")
