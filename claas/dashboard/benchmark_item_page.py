"""The items of one task of one benchmark run, the base model's answers beside its own: those that turned first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeAlias, cast

from claas.core.errors import NotFound
from claas.core.files import dump_json
from claas.dashboard.benchmark_cells import Cell, ItemIndex
from claas.dashboard.cohort import Cohort, CohortRow
from claas.dashboard.pages import TEMPLATES
from claas.results.benchmarks import BenchmarkItem, BenchmarkRun
from claas.results.pairing import Place

PER_PAGE = 24


class ItemFilter(StrEnum):
    """Which items are shown, by how their scores changed since the base model."""

    FELL = "fell"
    ROSE = "rose"
    SAME = "same"


@dataclass(frozen=True)
class ItemQuery:
    """A page of items; `only` None shows all of them."""

    only: ItemFilter | None = None
    page: int = 1

    def showing(self, only: ItemFilter | None) -> "ItemQuery":
        """The first page of other items."""
        return ItemQuery(only)

    def on(self, page: int) -> "ItemQuery":
        """Another page of the same items."""
        return replace(self, page=page)


FIRST_PAGE = ItemQuery()

Link: TypeAlias = Callable[[ItemQuery], str | None]
"""The address of a page of items; None where there is none, as in a file that holds only the first."""


@dataclass(frozen=True)
class TextBounds:
    """How many characters of a text are shown: of a prompt its end, where the question is, and the whole behind it."""

    prompt: int = 300
    whole_prompt: int = 20_000
    answer: int = 4_000


ON_PAGE = TextBounds()


@dataclass(frozen=True)
class ItemAnswer:
    """What a model said: a text, or else the log probability of each choice.

    `read` is what was scored of the text, where that is less, and `outcome` what became of the program in it.
    """

    score: float
    text: str | None
    read: str | None
    outcome: str | None
    logprobs: Sequence[float]


@dataclass(frozen=True)
class ShownItem:
    """One item with the answers to it, the base model's first where there is one. `asked` is the end of `prompt`."""

    name: str
    prompt: str
    asked: str
    target: str
    choices: Sequence[str]
    answers: Sequence[ItemAnswer]
    turned: ItemFilter | None


@dataclass(frozen=True)
class ItemsView:
    """One page of items. `models` are the run's, after that of its base where its items can be compared with that;
    `counts` has how many items there are by filter, nothing where there is no base.
    """

    row: CohortRow
    task: str
    cell: Cell
    models: Sequence[str]
    metrics: Mapping[str, Sequence[float | None]]
    counts: Mapping[ItemFilter, int]
    query: ItemQuery
    pages: int
    total: int
    items: Sequence[ShownItem]
    link: Link
    bounds: TextBounds


def items_view(
    cohort: Cohort,
    row: CohortRow,
    task: str,
    query: ItemQuery,
    link: Link,
    *,
    per_page: int = PER_PAGE,
    bounds: TextBounds = ON_PAGE,
) -> ItemsView:
    """A page of the items of a task; `NotFound` where the row has no such task, or no such page."""
    cell = row.cells.get(task)
    if cell is None:
        raise NotFound(f"the run {row.run.name} has no task {task}; it has {', '.join(row.cells)}")
    sides = [(row.run, cohort.items.index(row.run, task))]
    if row.base is not None and cell.difference is not None:
        sides.insert(0, (row.base, cohort.items.index(row.base, task)))
    scored = _scored(sides)
    chosen = [item for item in sorted(scored, key=_turned_first) if query.only in (None, item.turned)]
    pages = max(1, -(-len(chosen) // per_page))
    if query.page > pages:
        raise NotFound(f"page={query.page} is beyond the last page of these items, which is page={pages}")
    on_page = chosen[(query.page - 1) * per_page : query.page * per_page]
    read = [
        cohort.items.read(run, task, [item.places[side] for item in on_page]) for side, (run, _) in enumerate(sides)
    ]
    return ItemsView(
        row=row,
        task=task,
        cell=cell,
        models=[_model(run) for run, _ in sides],
        metrics=_metrics(task, [run for run, _ in sides]),
        counts={only: sum(item.turned is only for item in scored) for only in ItemFilter} if len(sides) > 1 else {},
        query=query,
        pages=pages,
        total=len(chosen),
        items=[_shown(item, whole, bounds) for item, whole in zip(on_page, zip(*read, strict=True), strict=True)],
        link=link,
        bounds=bounds,
    )


def items_fragment(view: ItemsView) -> str:
    """HTML of the items, without a page around them."""
    return TEMPLATES.get_template("benchmark_items_body.html").render(view=view, filters=ItemFilter, heading="h1")


@dataclass(frozen=True)
class _Scored:
    """One item by its scores, of the base model first where there is one, and where its lines are."""

    scores: tuple[float, ...]
    places: tuple[Place, ...]

    @property
    def turned(self) -> ItemFilter | None:
        if len(self.scores) == 1:
            return None
        before, after = self.scores
        return ItemFilter.FELL if after < before else ItemFilter.ROSE if after > before else ItemFilter.SAME


def _scored(sides: Sequence[tuple[BenchmarkRun, ItemIndex]]) -> list[_Scored]:
    """The items of the last of them, in the record's order."""
    found = [
        {key: (score, place) for key, score, place in zip(index.keys, index.scores, index.places, strict=True)}
        for _, index in sides
    ]
    pairs = [[each[key] for each in found] for key in found[-1]]
    return [_Scored(tuple(score for score, _ in pair), tuple(place for _, place in pair)) for pair in pairs]


def _turned_first(item: _Scored) -> tuple[float, ...]:
    """What fell, the most first; what rose, the most first; the rest, the worst first."""
    change = item.scores[-1] - item.scores[0]
    if not change:
        return 2, item.scores[-1]
    return (0, change) if change < 0 else (1, -change)


def _model(run: BenchmarkRun) -> str:
    return run.adapter or run.base_model


def _metrics(task: str, runs: Sequence[BenchmarkRun]) -> dict[str, list[float | None]]:
    """Every number of the task, a column for each run."""
    names = dict.fromkeys(key.removeprefix(f"{task}/") for key in runs[-1].metrics if key.startswith(f"{task}/"))
    return {name: [run.metrics.get(f"{task}/{name}") for run in runs] for name in names}


def _shown(scored: _Scored, sides: Sequence[BenchmarkItem], bounds: TextBounds) -> ShownItem:
    item = sides[-1]
    prompt, choices = _request(item.arguments)
    answers = [_answer(score, side, len(choices)) for score, side in zip(scored.scores, sides, strict=True)]
    if not all(answer.logprobs for answer in answers):
        choices = []
    name = f"{item.task} · {item.doc_id}"
    return ShownItem(name, prompt, _end(prompt, bounds.prompt), item.target, choices, answers, scored.turned)


def _end(text: str, most: int) -> str:
    """The last lines, as many as there is room for, or as much of the last one."""
    if len(text) <= most:
        return text
    _, _, whole_lines = text[-most:].partition("\n")
    return f"… {whole_lines if whole_lines.strip() else text[-most:]}"


def _request(arguments: Sequence[Any]) -> tuple[str, list[str]]:
    """What was asked, and the choices that were scored; of a text that was to be written there are none.

    Where the choices differ in what comes before a common ending, that ending is what is asked.
    """
    pairs = [cast(list[Any], each) for each in arguments if isinstance(each, list)]
    if (
        not pairs
        or len(pairs) < len(arguments)
        or not all(len(pair) == 2 and isinstance(pair[0], str) for pair in pairs)
    ):
        return _plain(arguments), []
    prompts = [str(prompt) for prompt, _ in pairs]
    continuations = [continuation for _, continuation in pairs if isinstance(continuation, str)]
    if len(continuations) < len(pairs):
        return prompts[0], []
    if len(set(prompts)) == 1:
        return prompts[0], continuations
    if len(set(continuations)) == 1:
        return f"… {continuations[0].strip()}", prompts
    return "", [f"{prompt}{continuation}" for prompt, continuation in zip(prompts, continuations, strict=True)]


def _answer(score: float, item: BenchmarkItem, choices: int) -> ItemAnswer:
    if choices and (logprobs := _logprobs(item.filtered_resps, choices)):
        return ItemAnswer(score, None, None, None, logprobs)
    said, read = _plain(item.resps), _plain(item.filtered_resps)
    return ItemAnswer(score, said, None if read == said else read, item.outcome, [])


def _logprobs(responses: Any, choices: int) -> list[float]:
    """One for each choice; none where these are no pairs of a log probability and whether it was greedy."""
    pairs = cast(list[Any], responses) if isinstance(responses, list) else []
    found = [float(each[0]) for each in pairs if isinstance(each, list) and each and isinstance(each[0], int | float)]
    return found if len(found) == len(pairs) == choices else []


def _plain(value: Any) -> str:
    """A text as it is, also as the only one in a list; anything else as JSON."""
    while isinstance(value, list) and len(cast(list[Any], value)) == 1:
        value = cast(list[Any], value)[0]
    return value if isinstance(value, str) else dump_json(value)
