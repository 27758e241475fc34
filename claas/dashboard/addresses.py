"""Where the pages of the results browser are."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

ROOT = "/v1/eval"

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

    def transcripts(self, run: str, preference: str, query: Mapping[str, object]) -> str:
        """Some of a measurement's transcripts."""
        return self._address("/step", {"run": run, "preference": preference, **query})

    def steps(self) -> str:
        """What the address of every step begins with."""
        return f"{ROOT}/step?"

    def compare(self, *runs: str) -> str:
        """Runs beside each other; the first is what the others are held against."""
        return self._address("/compare", {"run": list(runs)})

    def plot(self, run: str, picture: str) -> str:
        """A picture of the run's plots folder."""
        return self._address("/plot", {"run": run, "picture": picture})

    def _address(self, page: str, query: Mapping[str, object]) -> str:
        known = {name: value for name, value in query.items() if value not in (None, "", [])}
        if self.results_dir is not None:
            known["results_dir"] = self.results_dir
        return f"{ROOT}{page}?{urlencode(known, doseq=True)}" if known else f"{ROOT}{page}"
