"""The feedback log as a page."""

from pathlib import Path

from claas.dashboard.feedback.feedback_batches import batch_page
from claas.dashboard.pages import render


def feedback_page(directory: Path, page: int, per_page: int) -> str:
    """HTML of one page of the log in `directory`; `NotFound` beyond the last."""
    found = batch_page(directory, page, per_page)
    first = (page - 1) * per_page + 1
    return render("feedback.html", log=found, first=first)
