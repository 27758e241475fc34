"""From template to page: every text escaped, the style sheet inside, and headers that allow nothing else."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, cast
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from claas.core.files import dump_json
from claas.dashboard.assets import PLOTLY_STYLE_HASH
from claas.dashboard.assets import address as asset_address
from claas.dashboard.drawings import interval_bar, sparkline
from claas.results.effects import criteria_in
from claas.results.keys import kept
from claas.results.numbers import (
    common_decimals,
    compact,
    duration,
    figure,
    fixed,
    number,
    signed,
    signed_span,
    span,
)

ROOT = "/v1/eval"
BENCH_ROOT = "/v1/bench"
CHAT = "/v1/chat"
SECTIONS = {"Runs": ROOT, "Benchmarks": BENCH_ROOT, "Chat": CHAT, "Feedback": "/v1/dashboard"}
"""What every page links to, by title."""


def render(template: str, **values: object) -> str:
    """The page that `template` makes of `values`."""
    return TEMPLATES.get_template(template).render(style=Markup(_STYLE), sections=SECTIONS, **values)


def error_page(status: int, message: str) -> str:
    """HTML of an error with its cause."""
    heading = _HEADINGS.get(status, "This page could not be made")
    return render("error.html", status=status, heading=heading, message=message, addresses=Addresses())


_HEADINGS = {400: "Not as it was asked", 404: "Not found", 422: "Not as it was asked"}


def home_page(mode: str, base_model: str, version: str) -> str:
    """HTML of the API's own address."""
    return render("home.html", mode=mode, base_model=base_model, version=version)


NO_QUERY: Mapping[str, object] = {}


@dataclass(frozen=True)
class Addresses:
    """Addresses of pages about the runs in one folder; `results_dir` is None for the folder that the API shows."""

    results_dir: str | None = None

    def runs(self, query: Mapping[str, object] = NO_QUERY) -> str:
        """The list of all runs."""
        return self._address("", query)

    def run(self, run: str) -> str:
        """One run."""
        return self._address("/run", {"run": run})

    def step(self, run: str, preference: str, updates: int) -> str:
        """What was measured after so many updates."""
        return self._address("/step", {"run": run, "preference": preference, "updates": updates})

    def transcripts(self, run: str, preference: str, query: Mapping[str, object]) -> str | None:
        """Some of a measurement's transcripts; None where they are not there to be read."""
        return self._address("/step", {"run": run, "preference": preference, **query})

    def steps(self) -> str:
        """What the address of every step begins with."""
        return f"{ROOT}/step?"

    def compare(self, *runs: str) -> str | None:
        """Runs beside each other; the first is what the others are held against. None where there is no such page."""
        return self._address("/compare", {"run": list(runs)})

    def plot(self, run: str, picture: str) -> str:
        """A picture of the run's plots folder."""
        return self._address("/plot", {"run": run, "picture": picture})

    def _address(self, page: str, query: Mapping[str, object]) -> str:
        return address_of(f"{ROOT}{page}", {**query, "results_dir": self.results_dir})


def address_of(path: str, query: Mapping[str, object]) -> str:
    """A path with the parameters that say something."""
    parameters = {name: value for name, value in query.items() if value not in (None, "", [])}
    return f"{path}?{urlencode(parameters, doseq=True)}" if parameters else path


def clipped(text: str, most: int = 4000) -> str:
    """The text, or as many of its characters as a page should hold, with those that are left out counted."""
    left_out = len(text) - most
    return f"{text[:most]}… ({left_out} more characters)" if left_out > 0 else text


def title(name: str, titles: Mapping[str, str]) -> str:
    """A criterion or a set of items as people write it: by its declared title, or else its name with spaces."""
    return titles.get(name, name.replace("_", " "))


_NAME = re.compile(r"\b[a-z]+(?:_[a-z]+)+\b")


def worded(text: str, titles: Mapping[str, str]) -> str:
    """The text with the names of criteria in it as people write them."""
    return _NAME.sub(lambda name: title(name[0], titles), text)


def capitalized(text: str) -> str:
    """The text with its first letter large, the rest as it is."""
    return text[:1].upper() + text[1:]


def settings(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a nested configuration, dotted: `training.alpha` and `0.5`."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from settings(cast(dict[str, Any], value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else dump_json(value)


_SIGNS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
"""Control characters by their picture in Unicode: U+0000 is not allowed in a page, and others change what it shows."""


def control_pictures(text: str) -> str:
    """The text, one character for each of its own, control characters as the signs for them."""
    return text.translate(_SIGNS)


def policy_hash(inline: str) -> str:
    """What a Content-Security-Policy calls an inline script or style by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()}"


def page_headers(styles: Sequence[str], *more: str, images: str = "'self'") -> dict[str, str]:
    """Our own style sheet and those of these hashes are allowed, and what `more` says; nothing else is."""
    allowed = " ".join(f"'{digest}'" for digest in (policy_hash(_STYLE), *styles))
    rules = ["default-src 'none'", f"style-src {allowed}", f"img-src {images}", *more]
    return {
        "Content-Security-Policy": "; ".join(
            [*rules, "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"]
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }


def _shown(value: object) -> object:
    """What a template puts out, with control characters to be seen; markup has been through here already."""
    return control_pictures(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("claas.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    filters: Any = {  # typed there by what happens to be in it
        "figure": figure,
        "number": number,
        "fixed": fixed,
        "signed": signed,
        "span": span,
        "signed_span": signed_span,
        "compact": compact,
        "capitalized": capitalized,
        "criteria_in": criteria_in,
        "kept": kept,
        "settings": settings,
        "title": title,
        "worded": worded,
        "duration": duration,
        "clipped": clipped,
        "fields": asdict,
        "sparkline": sparkline,
        "interval_bar": interval_bar,
    }
    templates.filters.update(filters)
    functions: Any = {"asset_address": asset_address, "common_decimals": common_decimals}
    templates.globals.update(functions)
    templates.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return templates


_SHEETS = ("style.css", "runs.css", "charts.css", "steps.css", "drawer.css", "compare.css", "cohort.css")
_STYLE = "".join(files("claas.dashboard").joinpath("templates", name).read_text(encoding="utf-8") for name in _SHEETS)
TEMPLATES = _templates()
"""Every template; `render` makes whole pages of them."""

PAGE_HEADERS = page_headers([])
"""What a page is sent with that runs nothing: no scripts, no frames, nothing from elsewhere; forms go to the API."""

CHART_PAGE_HEADERS = page_headers(
    [policy_hash(""), PLOTLY_STYLE_HASH], "script-src 'self'", "connect-src 'self'", images="'self' data: blob:"
)
"""What a page with charts is sent with: it runs the API's own scripts and no inline one. Plotly adds an empty style
sheet, which it fills by CSSOM, and that of maps, which it draws too; a chart is saved as a PNG by way of a picture."""
