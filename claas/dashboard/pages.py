"""From template to page: every text escaped, the style sheet inside, and headers that allow nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from claas.dashboard.assets import PLOTLY_STYLE_HASH
from claas.dashboard.assets import address as asset_address
from claas.dashboard.formats import capitalized, compact, figure, number, settings, title
from claas.dashboard.readable import told
from claas.dashboard.runs.drawings import interval_bar, sparkline
from claas.dashboard.runs.run_list import last_value
from claas.eval.reporters.progress_line import duration

SECTIONS = {"Runs": "/v1/eval", "Feedback": "/v1/dashboard"}
"""What every page links to, by title."""

_SHOWN_CHARACTERS = 4000


def render(template: str, **values: object) -> str:
    """The page that `template` makes of `values`."""
    return TEMPLATES.get_template(template).render(style=Markup(_STYLE), sections=SECTIONS, **values)


def clipped(text: str) -> str:
    """The text, or as much of it as a page should hold, with what is left out counted."""
    return told(text, _SHOWN_CHARACTERS)


def _headers(style_hashes: Sequence[str], *more: str) -> dict[str, str]:
    """The style sheets of these hashes are allowed, and what `more` says; nothing else is."""
    styles = " ".join(f"'{digest}'" for digest in style_hashes)
    rules = ["default-src 'none'", f"style-src {styles}", "img-src 'self'", *more]
    return {
        "Content-Security-Policy": "; ".join(
            [*rules, "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"]
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def policy_hash(inline: str) -> str:
    """What a Content-Security-Policy calls an inline script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}"


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
        "compact": compact,
        "capitalized": capitalized,
        "settings": settings,
        "title": title,
        "duration": duration,
        "clipped": clipped,
        "fields": asdict,
        "sparkline": sparkline,
        "interval_bar": interval_bar,
        "last_value": last_value,
    }
    templates.filters.update(filters)
    addresses: Any = {"asset_address": asset_address}
    templates.globals.update(addresses)
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return templates


_SHEETS = ("style.css", "runs.css", "charts.css", "steps.css", "drawer.css", "compare.css")
_STYLE = "".join(files("claas.dashboard").joinpath("templates", name).read_text(encoding="utf-8") for name in _SHEETS)
TEMPLATES = _templates()
"""Every template; `render` makes whole pages of them."""

PAGE_HEADERS = _headers([policy_hash(_STYLE)])
"""What a page is sent with that runs nothing: no scripts, no frames, nothing from elsewhere; forms go to the API."""

CHART_PAGE_HEADERS = _headers(
    [policy_hash(_STYLE), policy_hash(""), PLOTLY_STYLE_HASH],
    "script-src 'self'",
    "connect-src 'self'",
)
"""What a page with charts is sent with: it runs the API's own scripts and no inline one. Plotly adds an empty style
sheet, which it fills by CSSOM, and that of maps, which it draws too."""
