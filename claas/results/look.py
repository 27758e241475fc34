"""How pictures look, and where their panels lie: on a screen, in the column of a paper, or as a style file says."""

import math
import shutil
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from claas.core.errors import InvalidInput
from claas.core.files import writing
from claas.results.charts import COLOURS, curve_style
from claas.results.settings import PAPER, PNG, SCREEN, require_plot_style

_matplotlib: Any = matplotlib  # typed in part only
_cycler: Any = cycler

INK = "#333333"

_COMMON: Mapping[str, Any] = {
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "claas",
    "axes.prop_cycle": _cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}
"""Letters are in the file: as outlines in SVG, as embedded TrueType fonts in PDF."""

_ON_SCREEN: Mapping[str, Any] = {
    **dict.fromkeys(["text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"], INK),
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "figure.titlesize": 11,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.4,
    "legend.columnspacing": 1.4,
    "savefig.dpi": 180,
}

_IN_PRINT: Mapping[str, Any] = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.2,
    "legend.columnspacing": 1.2,
    "legend.handlelength": 2.6,
    "savefig.dpi": 300,
    "figure.figsize": (3.3, 1.9),
}

_NOT_OF_A_PICTURE = ("backend", "interactive", "toolbar", "webagg", "savefig.format", "savefig.bbox", "figure.dpi")


@dataclass(frozen=True)
class Sheet:
    """Where panels lie, in inches: fixed, so that every picture of every run has its axes in the same place."""

    columns: int
    rows: int
    across: float = 3.0
    down: float = 2.1
    left: float = 0.74
    right: float = 0.2
    beside: float = 0.8
    beneath: float = 0.85
    head: float = 0.95
    foot: float = 0.78
    least: float = 5.2

    @property
    def width(self) -> float:
        return max(self.least, self.left + self.columns * (self.across + self.beside) - self.beside + self.right)

    @property
    def height(self) -> float:
        return self.head + self.rows * (self.down + self.beneath) - self.beneath + self.foot

    def place(self, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, width, height of a panel as shares of the page."""
        row, column = divmod(index, self.columns)
        left = self.left + column * (self.across + self.beside)
        bottom = self.height - self.head - self.down - row * (self.down + self.beneath)
        across = max(self.across, self.width - self.left - self.right) if self.columns == 1 else self.across
        return left / self.width, bottom / self.height, across / self.width, self.down / self.height


@dataclass(frozen=True)
class Look:
    """One `plot_style`. In print, a caption below the picture says what it is of, so that nothing of it is in the
    picture, and curves differ in their dashes, too, so that they stay apart in grey."""

    rc: Mapping[str, Any] = field(default_factory=lambda: {**_COMMON, **_ON_SCREEN})
    in_print: bool = False

    @contextmanager
    def drawing(self) -> Generator[None]:
        """What is drawn and saved here looks like this."""
        with _matplotlib.rc_context():
            _matplotlib.rcdefaults()
            _matplotlib.rcParams.update(self.rc)
            yield

    def sheet(self, panels: int, most_columns: int, labels: Sequence[str] = (), foot: float = 0.78) -> Sheet:
        """For so many panels below a legend of these labels; in print, one column up to three panels and else two."""
        columns = min(most_columns, panels)
        if not self.in_print:
            page = Sheet(columns, math.ceil(panels / columns), foot=foot)
            return replace(page, head=0.78 + 0.17 * max(1, self._legend_rows(page.width, labels)))
        width, height = self.rc["figure.figsize"]
        columns, left, right, beneath = min(columns, 1 if panels <= 3 else 2), 0.6, 0.06, 0.75
        page = Sheet(
            columns,
            math.ceil(panels / columns),
            across=width - left - right,
            down=height - beneath,
            left=left,
            right=right,
            beside=left + right + 0.2,
            beneath=beneath,
            foot=0.4,
            least=0.0,
        )
        return replace(page, head=(0.22 if panels == 1 else 0.36) + 0.17 * self._legend_rows(page.width, labels))

    def legend_columns(self, page_width: float, labels: Sequence[str]) -> int:
        """How many entries of a legend stand beside each other: all of them where they fit."""
        widths = [0.5 + (0.05 if self.in_print else 0.068) * len(label) for label in labels]
        return len(labels) if sum(widths) <= page_width else max(1, int(page_width / max(widths)))

    def _legend_rows(self, page_width: float, labels: Sequence[str]) -> int:
        return math.ceil(len(labels) / self.legend_columns(page_width, labels)) if labels else 0

    def curve(self, index: int) -> dict[str, Any]:
        """How the curve at this place in the order is drawn; a style file's own cycle decides what it names."""
        cycle: list[dict[str, Any]] = list(self.rc["axes.prop_cycle"])
        style = curve_style(index, len(cycle))
        dash = style.dash + style.colour if self.in_print else style.dash
        known = {
            "marker": _MARKERS[style.marker % len(_MARKERS)],
            "linestyle": _DASHES[dash % len(_DASHES)],
            **cycle[style.colour],
        }
        return {"color": COLOURS[style.colour % len(COLOURS)], **known}

    def colour(self, index: int) -> str:
        """That of the curve at this place in the order."""
        return self.curve(index)["color"]

    @property
    def small(self) -> Any:
        """The size of what is written beside curves."""
        return self.rc["xtick.labelsize"]


_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("solid", "dashed", "dotted", "dashdot")


def look_of(style: str = SCREEN) -> Look:
    """That of a `plot_style`; `InvalidInput` where it is a file that cannot be used."""
    require_plot_style(style)
    if style == SCREEN:
        return Look()
    given = {} if style == PAPER else _read(Path(style).expanduser())
    return Look({**_COMMON, **_IN_PRINT, **given}, in_print=True)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidInput(f"there is no style file {path}; name one, or choose {SCREEN} or {PAPER}")
    try:
        found = _matplotlib.rc_params_from_file(path, fail_on_error=True, use_default_template=False)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be used as a style: {' '.join(str(error).split())}") from None
    given = {name: found[name] for name in found if not name.startswith(_NOT_OF_A_PICTURE)}
    if given.get("text.usetex") and shutil.which("latex") is None:
        raise InvalidInput(f"{path} asks for text.usetex, and there is no latex here; install it or take that line out")
    return given


def new_figure(page: Sheet) -> Any:
    """An empty page."""
    figure: Any = Figure(figsize=(page.width, page.height))  # matplotlib is typed in part only
    FigureCanvasAgg(figure)
    return figure


_METADATA: Mapping[str, dict[str, None]] = {
    PNG: {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
"""What would differ from one drawing of the same numbers to the next."""


def saved(figure: Any, kind: str) -> bytes:
    """The figure in a format."""
    file = BytesIO()
    figure.savefig(file, format=kind, metadata=_METADATA[kind])
    return file.getvalue()


def write_picture(path: Path, data: bytes) -> None:
    """Replace the file in one step."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.tmp")
        staged.write_bytes(data)
        staged.replace(path)
