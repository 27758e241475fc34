"""From template to page: every text escaped, the style sheet inside, and headers that allow nothing else."""

import base64
import hashlib
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from claas.dashboard.drawings import interval_bar, sparkline
from claas.dashboard.formats import capitalized, compact, figure, number, percent, settings
from claas.dashboard.run_list import last_value
from claas.eval.reporters.progress_line import duration

SECTIONS = {"Runs": "/v1/eval", "Feedback": "/v1/dashboard"}
"""What every page links to, by title."""

_SHOWN_CHARACTERS = 4000


def render(template: str, **values: object) -> str:
    """The page that `template` makes of `values`."""
    return _TEMPLATES.get_template(template).render(style=Markup(_STYLE), sections=SECTIONS, **values)


def clipped(text: str) -> str:
    """The text, or as much of it as a page should hold, with what is left out counted."""
    beyond = len(text) - _SHOWN_CHARACTERS
    return text if beyond <= 0 else f"{text[:_SHOWN_CHARACTERS]}… ({beyond} more characters)"


def _headers() -> dict[str, str]:
    """The one style sheet is allowed by its hash; scripts, frames, forms and anything from elsewhere are not."""
    style = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style}'; img-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'",
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
    filters: Any = {  # typed there by what happens to be in it
        "figure": figure,
        "number": number,
        "percent": percent,
        "compact": compact,
        "capitalized": capitalized,
        "settings": settings,
        "duration": duration,
        "clipped": clipped,
        "fields": asdict,
        "sparkline": sparkline,
        "interval_bar": interval_bar,
        "last_value": last_value,
    }
    templates.filters.update(filters)
    return templates


_STYLE = files("claas.dashboard").joinpath("templates", "style.css").read_text(encoding="utf-8")
_TEMPLATES = _templates()
PAGE_HEADERS = _headers()
"""What every page is sent with."""
