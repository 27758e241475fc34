"""Bodies at the edges of what a client can send: numbers and texts of every kind, in every encoding of JSON."""

import json
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

JSON = {"Content-Type": "application/json"}
TEXTS = st.one_of(st.text(max_size=20), st.text(st.characters(), max_size=20))
"""Any text; halves of characters may be among its letters."""

EDGES = st.sampled_from([2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**400, 10**4299])
INTEGERS = st.one_of(st.integers(), EDGES, EDGES.map(lambda edge: -edge))
NUMBERS = st.one_of(st.floats(), INTEGERS, st.sampled_from([5e-324, 1e-46, 1e-38, 1e308]))
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.none())


@dataclass(frozen=True)
class Encoding:
    """How a body becomes bytes: its letters escaped or not, in UTF-8 or in what is no JSON today."""

    escaped: bool
    name: str

    def __call__(self, body: object) -> bytes:
        """The body as JSON; halves of characters are let through."""
        return json.dumps(body, ensure_ascii=self.escaped).encode(self.name, "surrogatepass")


ENCODINGS = st.builds(
    Encoding, st.booleans(), st.sampled_from(["utf-8"] * 9 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
)


@st.composite
def spoilt(draw: st.DrawFn, body: Any) -> Any:
    """`body` with one of its values, or itself, replaced by another, often of its kind."""
    if isinstance(body, dict) and body and draw(st.integers(0, 9)) != 7:
        name = draw(st.sampled_from(sorted(body)))
        return {**body, name: draw(spoilt(body[name]))}
    if isinstance(body, list) and body and draw(st.integers(0, 9)) != 7:
        index = draw(st.integers(0, len(body) - 1))
        return [*body[:index], draw(spoilt(body[index])), *body[index + 1 :]]
    alike = TEXTS if isinstance(body, str) else NUMBERS if isinstance(body, int | float) else SCALARS
    return draw(alike if draw(st.booleans()) else SCALARS)
