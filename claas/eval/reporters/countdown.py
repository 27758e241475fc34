"""How much of a run is done and how long the rest will take, by the requests that have ended."""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_WINDOW_S = 20.0
_SETTLED_S = 3.0
_WEIGHT = 0.25


@dataclass
class _Asked:
    """The requests of one preference: `planned` of its baseline and each step, of which `recorded` are on record."""

    planned: Sequence[int]
    recorded: int = 0
    under_way: int = 0

    @property
    def total(self) -> int:
        return sum(self.planned)

    @property
    def done(self) -> int:
        return min(self.total, sum(self.planned[: self.recorded]) + self.under_way)

    def record(self) -> None:
        """The next measurement is on record: what is still under way belongs to those after it."""
        asked = self.planned[self.recorded] if self.recorded < len(self.planned) else 0
        self.recorded += 1
        self.under_way = max(0, self.under_way - asked)


@dataclass
class Countdown:
    """Requests done and to come, and the time left at the pace of the last while, which runs down between requests.

    All times are seconds of one clock.
    """

    _asked: dict[str, _Asked] = field(default_factory=dict[str, _Asked])
    _seen: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    _end: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything was planned."""
        return bool(self._asked)

    @property
    def done(self) -> int:
        """Requests that have ended, those of steps on record from before among them."""
        return sum(asked.done for asked in self._asked.values())

    @property
    def total(self) -> int:
        """All requests of the run."""
        return sum(asked.total for asked in self._asked.values())

    def plan(self, name: str, requests: Sequence[int]) -> None:
        """A preference makes so many at its baseline and in each step."""
        self._asked[name] = _Asked(requests)

    def ended(self, name: str, now: float) -> None:
        """A request has ended."""
        if name in self._asked:
            self._asked[name].under_way += 1
            self._look(now)

    def recorded(self, name: str, measurements: int) -> None:
        """So many measurements of a preference are on record, its baseline among them."""
        asked = self._asked.get(name)
        while asked is not None and asked.recorded < measurements:
            asked.record()

    def over(self, name: str) -> None:
        """A preference has come to its end, early or not: nothing of it is left."""
        asked = self._asked.get(name)
        if asked is not None:
            asked.planned, asked.under_way = asked.planned[: asked.recorded], 0

    def seconds_left(self, now: float) -> float | None:
        """About how long the rest takes; None while the pace is not known, and once nothing is left."""
        self._look(now)
        if self._end is None or self.done >= self.total:
            return None
        return max(0.0, self._end - now)

    def _look(self, now: float) -> None:
        """Take note of the pace, at most four times a second."""
        if self._seen and now - self._seen[-1][0] < 0.25:
            return
        self._seen.append((now, self.done))
        started = self._seen[0][0]
        while len(self._seen) > 2 and self._seen[1][0] < now - max(_WINDOW_S, (now - started) / 2):
            self._seen.popleft()
        since, before = self._seen[0]
        if now - since < _SETTLED_S or self.done <= before:
            return
        end = now + (self.total - self.done) * (now - since) / (self.done - before)
        self._end = end if self._end is None else self._end + _WEIGHT * (end - self._end)


@dataclass
class Spent:
    """Tokens by kind: those of records, and of requests whose record is still to come."""

    _recorded: Counter[str] = field(default_factory=Counter[str])
    _under_way: dict[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])

    def asked(self, name: str, tokens: Mapping[str, int]) -> None:
        """A request of a preference took so many."""
        self._under_way.setdefault(name, Counter()).update(tokens)

    def recorded(self, name: str, tokens: Mapping[str, int]) -> None:
        """A record took so many, its requests among them."""
        self._recorded.update(tokens)
        under_way = self._under_way.get(name, Counter())
        self._under_way[name] = Counter({kind: max(0, under_way[kind] - tokens.get(kind, 0)) for kind in under_way})

    def dropped(self, name: str) -> None:
        """What a preference asked for and has no record of does not count: it ended before."""
        self._under_way.pop(name, None)

    def total(self) -> Counter[str]:
        """All of them."""
        return sum(self._under_way.values(), Counter(self._recorded))
