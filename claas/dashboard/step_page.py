"""One measurement as a page, and as the part of a page that other pages take in."""

from claas.dashboard.pages import render
from claas.dashboard.step_view import StepView


def step_page(step: StepView) -> str:
    """HTML of the page."""
    return render("step.html", step=step, heading="h1")


def step_fragment(step: StepView) -> str:
    """HTML of what the page shows, to be put into another one, which has its own main heading."""
    return render("step_body.html", step=step, heading="h2")
