"""The page on which a person talks to the model, says what should be different, and sees it learn."""

from importlib.resources import files

from markupsafe import Markup

from claas.dashboard.pages import page_headers, policy_hash, render

_STYLE = files("claas.dashboard").joinpath("templates", "chat.css").read_text(encoding="utf-8")

CHAT_PAGE_HEADERS = page_headers([policy_hash(_STYLE)], "script-src 'self'", "connect-src 'self'")
"""What the page is sent with: it runs the API's own scripts, which ask the API."""


def chat_page(alias: str) -> str:
    """The page that talks to what `alias` means, and teaches it.

    It says nothing that only holders of a key may know: whatever else it shows, its script asks the API for.
    """
    return render("chat.html", alias=alias, chat_style=Markup(_STYLE))
