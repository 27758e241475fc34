"""Tasks of lm-eval, question by question: their requests through a subject, their scores by the task's own code.

Imported only where lm-eval is installed.
"""

import asyncio
import copy
import hashlib
import json
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import numpy as np

from claas.bench.catalogue import Entry, catalogue
from claas.bench.loop.asked import NO_SCORES, TaskMeasured
from claas.bench.model import SPELLED, base_tokenizer
from claas.bench.project import first_metric
from claas.bench.reader import Reader
from claas.bench.scoring import what_broke
from claas.bench.suite import PreparedEntry, Suite, prepare
from claas.core.concurrency import together
from claas.core.errors import BREAKDOWNS, InvalidInput
from claas.core.text import one_line
from claas.eval.metrics.metric import Subject
from claas.eval.stacks.stack import TokenizedText
from claas.results.records import Counts, Transcript

_RANDOM_SEED, _NUMPY_SEED, _FEWSHOT_SEED = 0, 1234, 1234
"""As `lm_eval.simple_evaluate` has them."""


@lru_cache(maxsize=4)
def load_tasks(
    entries: tuple[Entry, ...],
    datasets_dir: Path | None,
    model: str,
    tokenizer: str | None,
    window: int,
    chat: bool | None,
    template_kwargs: str,
) -> tuple["LoadedTask", ...]:
    """Every question of these tasks, with the model's chat template unless `chat` is False or it has none.

    `InvalidInput` names what is not there. `template_kwargs` is a JSON object.
    """
    reader = Reader(base_tokenizer(tokenizer or model).tokenizer, window, json.loads(template_kwargs))
    templated = reader.tokenizer.chat_template is not None if chat is None else chat
    random.seed(_RANDOM_SEED)
    np.random.seed(_NUMPY_SEED)
    suite = prepare(entries, datasets_dir)
    return tuple(_load(suite, entry, reader, templated) for entry in suite.entries)


@dataclass(frozen=True, eq=False)
class _Question:
    """A row of a task's data, and lm-eval's requests about it. `leaf` is the task itself, or that of a group."""

    item: str
    leaf: Any
    doc: Any
    requests: tuple[Any, ...]


@dataclass(frozen=True)
class LoadedTask:
    """A `claas.bench.loop.asked.AskedTask`; `digest` is that of everything it asks and takes for right."""

    name: str
    metric: str
    fixture: bool
    digest: str
    reader: Reader = field(repr=False)
    questions: tuple[_Question, ...] = field(repr=False)

    async def require_tokenizer(self, subject: Subject) -> Transcript:
        """Read a text, and count its tokens; `InvalidInput` where they are not as many as they should be."""
        read = await subject.read("bench.tokenizer", "0", SPELLED, len(SPELLED))
        if not subject.counts and read.error is None and len(read.tokens or ()) + 1 != len(self.reader.encode(SPELLED)):
            raise InvalidInput(
                f"{self.reader.tokenizer.name_or_path} is not the tokenizer of {subject.adapter.model}; set the "
                "metric's tokenizer to the folder or hub id of the right one"
            )
        return read

    async def measure(self, subject: Subject) -> TaskMeasured:
        """Ask every question, and score the answers that came."""
        asked = await together(self._ask(subject, question) for question in self.questions)
        return await asyncio.to_thread(self._measured, asked)

    async def _ask(self, subject: Subject, question: _Question) -> list[Transcript]:
        """All requests about one row: a transcript for each continuation, window and answer, in order."""
        found: list[Transcript] = []
        if question.requests[0].request_type == "generate_until":
            for number, request in enumerate(question.requests):
                context, asked = request.args
                wanted = self.reader.wanted(context, asked)
                item, prompt = f"{question.item}/{number}", TokenizedText(context, tuple(wanted.ids))
                found.append(
                    await subject.complete("bench", item, prompt, max_tokens=wanted.max_tokens, stop=wanted.stop)
                )
            return found
        for prompt, continuations in groupby(self._scored(question), key=itemgetter(0)):
            pieces = [piece for _, piece in continuations]
            items = [f"{question.item}/{len(found) + number}" for number in range(len(pieces))]
            found += await subject.score_continuations("bench", items, prompt, pieces)
        return found

    def _scored(self, question: _Question) -> Iterator[tuple[TokenizedText, TokenizedText]]:
        for request in question.requests:
            if request.request_type == "loglikelihood":
                context, continuation = request.args
                before, after = self.reader.pair(context, continuation)
                yield TokenizedText(context, tuple(before)), TokenizedText(continuation, tuple(after))
            else:
                for before, after in self.reader.windows(request.args[0]):
                    yield self._piece(before), self._piece(after)

    def _piece(self, ids: Sequence[int]) -> TokenizedText:
        return TokenizedText(self.reader.tokenizer.decode(ids), tuple(ids))

    def _measured(self, asked: Sequence[list[Transcript]]) -> TaskMeasured:
        """The scores of all questions that every answer came to."""
        came = {
            question: found
            for question, found in zip(self.questions, asked, strict=True)
            if all(each.error is None for each in found)
        }
        scored = _Scored()
        for leaf in dict.fromkeys(question.leaf for question in came):
            self._score(leaf, {question: found for question, found in came.items() if question.leaf is leaf}, scored)
        transcripts = [
            self._judged(question, found, scored) for question, found in zip(self.questions, asked, strict=True)
        ]
        return TaskMeasured(
            self._value(scored.values),
            Counts(
                planned=len(self.questions),
                scored=len(scored.values),
                errored=len(self.questions) - len(scored.values),
                truncated=sum(any(each.finish_reason == "length" for each in came[item]) for item in scored.values),
            ),
            tuple(transcript for found in transcripts for transcript in found),
        )

    def _score(self, leaf: Any, came: Mapping[_Question, list[Transcript]], scored: "_Scored") -> None:
        """Have lm-eval score what came of one task."""
        metric, _, chosen = self.metric.partition(",")
        replied = {question: self._replied(question, found) for question, found in came.items()}
        scorer = copy.copy(leaf)
        scorer._instances = [request for requests in replied.values() for request in requests]
        try:
            scorer.apply_filters()
        except BREAKDOWNS as error:
            scored.errors.update(dict.fromkeys(came, error))
            return
        for question, requests in replied.items():
            answers = [request.filtered_resps[chosen] for request in requests]
            try:
                scored.values[question] = scorer.process_results(question.doc, answers)[metric]
            except BREAKDOWNS as error:
                scored.errors[question] = error

    def _judged(self, question: _Question, found: list[Transcript], scored: "_Scored") -> list[Transcript]:
        """The transcripts with their verdict; where none could be made, with an error."""
        if (error := scored.errors.get(question)) is not None:
            said = f"lm-eval could not score it: {type(error).__name__}: {one_line(error)}"
            return [each.model_copy(update={"error": said}) for each in found]
        if question not in scored.values or self.metric.partition(",")[0] in NO_SCORES:
            return found
        value = scored.values[question]  # of several things that are counted in one answer, all of them
        score = fmean(map(float, cast(list[float], value))) if isinstance(value, list) else float(value)
        if not 0 <= score <= 1:
            raise InvalidInput(f"{self.name}: {self.metric} is not between 0 and 1; leave the task out")
        verdict: dict[str, float | str | bool | None] = {"score": score, "passed": score == 1.0}
        return [each.model_copy(update={"verdict": verdict}) for each in found]

    def _replied(self, question: _Question, found: Sequence[Transcript]) -> list[Any]:
        """lm-eval's requests with their replies."""
        answers = list(found)
        return [
            replace(request, resps=[self._reply(request, answers)] * (request.repeats or 1), filtered_resps={})
            for request in question.requests
        ]

    def _reply(self, request: Any, answers: list[Transcript]) -> Any:
        """What lm-eval's own models return for a request, taken off the front of the `answers`."""
        if request.request_type == "generate_until":
            return self.reader.wanted(*request.args).cut(answers.pop(0).response or "")
        if request.request_type == "loglikelihood":
            answer = answers.pop(0)
            return math.fsum(answer.logprobs or ()), all(answer.top_logprobs or ())
        total = math.fsum(math.fsum(each.logprobs or ()) for each in answers)
        answers.clear()
        return total

    def _value(self, values: Mapping[_Question, Any]) -> float | None:
        """Over all tasks of a group, each of whose items counts the same."""
        if not values:
            return None
        metric = self.metric.partition(",")[0]
        by_leaf: defaultdict[Any, list[Any]] = defaultdict(list)
        for question, value in values.items():
            by_leaf[question.leaf].append(value)
        parts = [float(leaf.aggregation()[metric](of_leaf)) * len(of_leaf) for leaf, of_leaf in by_leaf.items()]
        return math.fsum(parts) / len(values)


@dataclass(frozen=True)
class _Scored:
    """What lm-eval made of questions, and what kept it from it."""

    values: dict[_Question, Any] = field(default_factory=dict[_Question, Any])
    errors: dict[_Question, Exception] = field(default_factory=dict[_Question, Exception])


def _load(suite: Suite, prepared: PreparedEntry, reader: Reader, chat: bool) -> LoadedTask:
    entry = prepared.entry
    try:
        leaves = cast(dict[str, Any], suite.manager.load([prepared.group])["tasks"])
        questions = [
            question
            for name, leaf in leaves.items()
            for question in _questions(entry, name, leaf, reader if chat else None)
        ]
    except BREAKDOWNS as error:
        raise InvalidInput(f"{entry.task}: {what_broke(error, prepared.data.path)}") from error
    metric = _metric(entry.task, list(leaves.values()))
    return LoadedTask(entry.task, metric, prepared.data.fixture, _digest(metric, questions), reader, tuple(questions))


def _questions(entry: Entry, name: str, leaf: Any, reader: Reader | None) -> Iterator[_Question]:
    """What lm-eval asks, in chat form where there is a `reader`, as `lm_eval.simple_evaluate` has it."""
    if leaf.config.num_fewshot is None:
        leaf.set_config(key="num_fewshot", value=0)
    leaf.set_fewshot_seed(seed=_FEWSHOT_SEED)
    leaf.build_all_requests(
        limit=entry.limit,
        apply_chat_template=reader is not None,
        fewshot_as_multiturn=reader is not None,
        chat_template=reader and reader.chat_text,
    )
    place = entry.task if name == entry.task else f"{entry.task}/{name}"
    for row, requests in groupby(sorted(leaf.instances, key=attrgetter("doc_id", "idx")), key=attrgetter("doc_id")):
        asked = tuple(requests)
        yield _Question(f"{place}/{row}", leaf, asked[0].doc, asked)


def _metric(task: str, leaves: Sequence[Any]) -> str:
    has = [f"{metric},{used.name}" for used in leaves[0]._filters for metric in leaves[0].aggregation()]
    listed = catalogue().metric(task)
    found = listed if listed in has else first_metric(has)
    if found is None:
        raise InvalidInput(f"lm-eval has no number of {task}; name the tasks inside it one by one")
    return found


def _digest(metric: str, questions: Sequence[_Question]) -> str:
    said = [metric, *((each.item, each.doc, [request.args for request in each.requests]) for each in questions)]
    return hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode()).hexdigest()
