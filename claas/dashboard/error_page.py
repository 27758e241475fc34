"""What went wrong, as a page."""

from claas.dashboard.addresses import Addresses
from claas.dashboard.pages import render


def error_page(status: int, message: str) -> str:
    """HTML of an error with its cause."""
    return render("error.html", status=status, message=message, addresses=Addresses())
