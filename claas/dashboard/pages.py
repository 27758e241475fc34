"""From template to page: every text escaped, the style sheet inside, and headers that allow nothing else."""

import base64
import hashlib
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

SECTIONS = {"Feedback": "/v1/dashboard"}
"""What every page links to, by title."""

_SHOWN_CHARACTERS = 4000


def render(template: str, **values: object) -> str:
    """The page that `template` makes of `values`."""
    return _TEMPLATES.get_template(template).render(style=Markup(_STYLE), sections=SECTIONS, **values)


def figure(value: float) -> str:
    """A number with four significant digits, a whole one without a point."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def clipped(text: str) -> str:
    """The text, or as much of it as a page should hold, with what is left out counted."""
    beyond = len(text) - _SHOWN_CHARACTERS
    return text if beyond <= 0 else f"{text[:_SHOWN_CHARACTERS]}… ({beyond} more characters)"


def _headers() -> dict[str, str]:
    """The one style sheet is allowed by its hash; scripts, frames, forms and anything from elsewhere are not."""
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("claas.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: Any = {"figure": figure, "clipped": clipped, "fields": asdict}  # typed there by what happens to be in it
    templates.filters.update(filters)
    return templates


_STYLE = files("claas.dashboard").joinpath("templates", "style.css").read_text(encoding="utf-8")
_TEMPLATES = _templates()
PAGE_HEADERS = _headers()
"""What every page is sent with."""
