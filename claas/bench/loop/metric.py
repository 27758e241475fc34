"""Benchmarks at checkpoints of a run, asked and scored as `python -m claas.bench` does."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from claas.bench.catalogue import Entry, catalogue, chosen
from claas.bench.loop.asked import NO_SCORES, AskedTask
from claas.bench.scoring import require_lm_eval
from claas.core.checks import in_range
from claas.core.concurrency import together
from claas.core.errors import InvalidInput
from claas.core.files import dump_json
from claas.core.settings import default_base_model
from claas.eval.metrics.metric import Measurement, Subject
from claas.results.keys import Criterion, Items, Key, Question
from claas.results.settings import EvalConfig

WINDOW = 2048
"""Tokens of a question with its answer, where nothing else is said."""


@dataclass(frozen=True)
class Bench:
    """Tasks of lm-evaluation-harness (extra `bench`), as `python -m claas.bench` asks and scores them.

    `bench.<task>` is the number that lm-eval reports first: the mean score of a group's items, each counting the same.
    Each request has its transcript, named `<task>/<row of the data>/<request>`; a question of which any was lost is
    left out of the number and counted as lost, under `bench.<task>`. The score of a question is recomputed from its
    transcripts by lm-eval's own code. Measured at baseline and at `checkpoints`, or at every `interval`-th update.

    A task with scores in [0, 1] is judged, as the criterion `bench_<task>`: has it changed by more than -`tolerance`,
    item by item? With `halt_on_regression` it may end the preference.
    """

    entries: tuple[Entry, ...]
    interval: int | None = None
    tolerance: float = field(default=0.05, repr=False)  # by it answers are judged, and not asked
    apply_chat_template: bool | None = None
    tokenizer: str | None = None
    window: int = WINDOW
    datasets_dir: str | None = field(default=None, repr=False)  # what its rows say is part of `asked`
    asked: tuple[AskedTask, ...] = ()

    def __post_init__(self) -> None:
        if self.interval is not None:
            in_range("interval", self.interval, 1)
        in_range("tolerance", self.tolerance, 0.0, 1.0)
        in_range("window", self.window, 2)

    @classmethod
    def of(
        cls,
        suite: str | None = None,
        tasks: Sequence[str] = (),
        limit: int | None = None,
        num_fewshot: int | None = None,
        interval: int | None = None,
        tolerance: float = 0.05,
        apply_chat_template: bool | None = None,
        tokenizer: str | None = None,
        window: int = WINDOW,
        datasets_dir: str | None = None,
    ) -> Self:
        """The metric over a suite, or over `tasks`; settings of the same name are those of `python -m claas.bench`."""
        if limit is not None:
            in_range("limit", limit, 1)
        entries = chosen(suite, tasks, limit=limit, num_fewshot=num_fewshot).entries
        return cls(entries, interval, tolerance, apply_chat_template, tokenizer, window, datasets_dir)

    def for_run(self, config: EvalConfig) -> Self:
        """The metric with its questions, as the model of a run is asked them.

        `MissingExtra` where lm-eval is not installed; `InvalidInput` where a task or its data are not there, or the run
        goes through a gateway.
        """
        if config.openclaw_url is not None:
            raise InvalidInput(
                "the metric bench asks for raw completions, which an OpenClaw gateway does not have; leave the metric "
                "out, or openclaw_url"
            )
        require_lm_eval()
        from claas.bench.loop.tasks import load_tasks

        model = config.base_model or default_base_model(config.mode)
        folder = None if self.datasets_dir is None else Path(self.datasets_dir).expanduser()
        template = dump_json(config.chat_template_kwargs)
        how = (self.tokenizer, self.window, self.apply_chat_template, template)
        with ThreadPoolExecutor(1) as thread:  # in which lm-eval's tasks may run what needs an event loop of its own
            return replace(self, asked=thread.submit(load_tasks, self.entries, folder, model, *how).result())

    @property
    def keys(self) -> tuple[Key, ...]:
        """A key for each task. It is judged where its questions are known: in a run that asks them."""
        if self.asked:
            return tuple(self._key(task.name, task.metric, task.fixture) for task in self.asked)
        return tuple(_unjudged(entry.task, catalogue().metric(entry.task) or "") for entry in self.entries)

    def _key(self, task: str, metric: str, fixture: bool) -> Key:
        if metric.partition(",")[0] in NO_SCORES:
            return _unjudged(task, metric).model_copy(update={"limits": (0.0, None), "better": "lower"})
        criterion = re.sub(r"\W", "_", f"bench_{task}")
        return _unjudged(task, metric).model_copy(
            update={
                "limits": (0.0, 1.0),
                "better": "higher",
                "question": Question.FORGETTING,
                "axis": (-0.03, 1.03),
                "alarm": f"{task} dropped",
                "items": Items(metric="bench", prefix=f"{task}/", value="joint_score", flips=criterion, title=task),
                "criterion": Criterion(
                    name=criterion,
                    relation=">",
                    threshold=-self.tolerance,
                    estimator="change",
                    meaning="the mean score falls by less than this",
                    formula="mean of score - the same item's at baseline",
                    title=task,
                    note=f"{task} of rows that only have the benchmark's form" if fixture else None,
                ),
            }
        )

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """At baseline, and at `checkpoints` or after every `interval`-th update; step 0 makes the first."""
        if step is None:
            return True
        return step in checkpoints if self.interval is None else (step + 1) % self.interval == 0

    async def measure(self, subject: Subject) -> Measurement:
        """Ask every task."""
        read = await self.asked[0].require_tokenizer(subject)
        found = await together(task.measure(subject) for task in self.asked)
        keys = [key_of(task.name) for task in self.asked]
        return Measurement(
            {"bench": {key.removeprefix("bench."): each.value for key, each in zip(keys, found, strict=True)}},
            {key: each.counts for key, each in zip(keys, found, strict=True)},
            (read, *(transcript for each in found for transcript in each.transcripts)),
        )


def key_of(task: str) -> str:
    """The key of a task's number: of a name's full stops nothing is left, which part a key in two."""
    return f"bench.{task.replace('.', '_')}"


def _unjudged(task: str, metric: str) -> Key:
    return Key(key=key_of(task), title=task, unit=metric.partition(",")[0] or None, heading=task)
