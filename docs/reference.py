"""`python -m docs.reference`: writes docs/reference.md from what the code says of itself; a test keeps them in step."""

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from claas.api.config import ApiConfig
from claas.api.errors import STATUS_OF
from claas.bench.__main__ import Benchmarked
from claas.bench.compare import CompareConfig, DecidedRuns
from claas.bench.convert.__main__ import ConvertConfig
from claas.bench.convert.folder import Conversion
from claas.bench.judge.__main__ import JudgeConfig
from claas.bench.judge.asking import ModelAnswers
from claas.bench.loss.__main__ import LossConfig
from claas.bench.probe import ProbeBaseline, ProbeConfig, ProbeReport
from claas.bench.scan.settings import ScanConfig
from claas.bench.settings import BenchConfig
from claas.core.configuration import Setting, settings_of, written
from claas.core.errors import ExitCode
from claas.core.output import JsonDocument
from claas.doctor import Diagnoses
from claas.eval.aggregate import Aggregated
from claas.eval.audit import Audit
from claas.eval.config.catalog import known_metrics, known_preferences, load_metrics
from claas.eval.job import EvalOutcome
from claas.eval.metrics.metric import declared
from claas.eval.recompute.__main__ import Recomputed
from claas.results.aggregate import Aggregate
from claas.results.benchmarks import BenchmarkItem, BenchmarkRuns, EvalResult, PartialRun
from claas.results.columns import FRAMES_VERSION, TABLES
from claas.results.endpoint import EndpointReply
from claas.results.judge_results import JudgeResult
from claas.results.judging import JudgeCall
from claas.results.keys import Key
from claas.results.ledger import Intent, Receipt
from claas.results.manifest import Manifest
from claas.results.records import Baseline, Metadata, SampledBatch, StepRecord
from claas.results.scan import Scan
from claas.results.settings import EvalConfig
from claas.results.summary import Summary

PAGE = Path(__file__).with_name("reference.md")

BENCHMARK_RECORDS: list[tuple[str, type[BaseModel]]] = [
    ("`metrics.json`", BenchmarkRuns),
    ("`metrics.<name>.partial.json`", PartialRun),
    ("`<name>/lm_eval_summary.json`", EvalResult),
    ("`<name>/samples.<task>.jsonl`: a line per item and filter", BenchmarkItem),
    ("`output` of `python -m claas.bench.compare`", DecidedRuns),
    ("`baseline` of `python -m claas.bench.probe`", ProbeBaseline),
    ("`output` of `python -m claas.bench.probe`", ProbeReport),
    ("`scan.json` of `python -m claas.bench.scan`", Scan),
    ("`conversion.json` of a folder that `python -m claas.bench.convert` made", Conversion),
    ("`judge.json` of `python -m claas.bench.judge`", JudgeResult),
    ("`judgments.jsonl` of `python -m claas.bench.judge`: a line per reply", JudgeCall),
    ("`answers.<model>.jsonl` of `python -m claas.bench.judge`: a line per question", ModelAnswers),
]

RECORDS: list[tuple[str, type[BaseModel]]] = [
    ("`config.json`", Manifest),
    ("`summary.json`", Summary),
    ("`<preference>/metadata.json`", Metadata),
    ("`<preference>/baseline.json`", Baseline),
    ("`<preference>/steps.jsonl`: a line per step", StepRecord),
    ("`<preference>/sampled/`: a file per step that is not on record yet", SampledBatch),
    ("`<preference>/ledger.jsonl`: a line before each update", Intent),
    ("`<preference>/ledger.jsonl`: a line after each update", Receipt),
    ("`user.jsonl`: a line per reply of a model that plays the user", EndpointReply),
]


PRINTED: list[tuple[str, type[BaseModel]]] = [
    ("Every command", JsonDocument),
    ("`result` of `claas eval` and `claas plan`", EvalOutcome),
    ("`result` of `claas aggregate`", Aggregated),
    ("`result` of `claas recompute`", Recomputed),
    ("`result` of `claas audit`", Audit),
    ("`result` of `claas bench`", Benchmarked),
    ("`result` of `claas doctor`", Diagnoses),
]

AGGREGATE_RECORDS: list[tuple[str, type[BaseModel]]] = [
    ("`aggregate.json` of `python -m claas.eval.aggregate`", Aggregate),
]


def reference() -> str:
    """The whole page."""
    return "\n".join(
        [
            "# Reference",
            "",
            "Made from the code by `make reference`; edit the descriptions there, not here.",
            "",
            *settings("Settings of `python -m claas.eval`", EvalConfig),
            "Names: " + "; ".join(names()) + ".",
            "",
            *settings("Settings of `python -m claas.api`", ApiConfig),
            *settings("Settings of `python -m claas.bench`", BenchConfig),
            *settings("Settings of `python -m claas.bench.compare`", CompareConfig),
            *settings("Settings of `python -m claas.bench.probe`", ProbeConfig),
            *settings("Settings of `python -m claas.bench.loss`", LossConfig),
            *settings("Settings of `python -m claas.bench.convert`", ConvertConfig),
            *settings("Settings of `python -m claas.bench.judge`", JudgeConfig),
            *settings("Settings of `python -m claas.bench.scan`", ScanConfig),
            *metrics(),
            *exit_codes(),
            *errors(),
            *records("Files of a run and their keys", RECORDS),
            *frames(),
            *records("What runs of several seeds show together", AGGREGATE_RECORDS),
            *records("Files of benchmark runs and their keys", BENCHMARK_RECORDS),
            *printed(),
        ]
    )


def settings(title: str, kind: type) -> Iterator[str]:
    """A table of every setting, those of a section after it."""
    yield from heading(title)
    rows = [
        (f"`{each.key}`", default(each), escaped(each.meaning), escaped(str(each.limits))) for each in settings_of(kind)
    ]
    yield from table(("setting", "default", "meaning", "limits"), rows)


def default(each: Setting) -> str:
    """A section has none of its own."""
    return f"`{written(each.default)}`" if not hasattr(each.default, "__dataclass_fields__") else ""


def names() -> list[str]:
    """What settings can name."""
    metrics, presets = known_metrics()
    return [
        f"preferences {listed(known_preferences())}",
        f"metrics {listed(metrics)}",
        f"presets of metrics {listed(presets)}",
    ]


def metrics() -> Iterator[str]:
    """What each metric measures, and its numbers with their criteria."""
    yield from heading("Metrics")
    yield "A key stands in `eval` of the records. A criterion's threshold is set as in `criteria.margin_gain=3`."
    yield ""
    for name, metric in load_metrics(known_metrics()[0]).items():
        yield from heading(f"`{name}`", 3)
        yield summary(type(metric), whole=True)
        yield ""
        rows = [
            (f"`{key.key}`", escaped(key.title), escaped(key.unit or ""), *judging(key)) for key in declared(metric)
        ]
        yield from table(("key", "what", "unit", "criterion", "formula"), rows)


def judging(key: Key) -> tuple[str, str]:
    """A key's criterion with its default threshold, and how the estimate is made; empty where it is not judged."""
    criterion = key.criterion
    if criterion is None:
        return "", ""
    return f"`{criterion.name}` {criterion.relation} {criterion.threshold:g}", escaped(criterion.formula)


def exit_codes() -> Iterator[str]:
    """A table of how a command ends."""
    yield from heading("Exit codes")
    yield from table(("code", "meaning"), [(str(code.value), escaped(code.meaning)) for code in ExitCode])


def errors() -> Iterator[str]:
    """A table of what the API answers when it refuses or fails."""
    yield from heading("Errors of the API")
    yield 'The body is OpenAI\'s: `{"error": {"message", "type", "param", "code"}}`.'
    yield ""
    rows = sorted((status, code, re.sub(r" HTTP .*", "", summary(kind))) for kind, (status, code) in STATUS_OF.items())
    yield from table(("status", "`code`", "meaning"), [(str(status), f"`{code}`", text) for status, code, text in rows])


def printed() -> Iterator[str]:
    """What commands print for programs; records that stand in files are described there."""
    files = [model for _, model in (*RECORDS, *AGGREGATE_RECORDS, *BENCHMARK_RECORDS)]
    yield from records("What `--json` prints", PRINTED, [inner for model in files for inner in models_in(model)])


def records(
    title: str, files: Sequence[tuple[str, type[BaseModel]]], elsewhere: Sequence[type[BaseModel]] = ()
) -> Iterator[str]:
    """The files of a folder, and every key in them; but for the parts that are described `elsewhere`."""
    yield from heading(title)
    shared: list[type[BaseModel]] = []
    for file, model in files:
        yield from record(file, model)
        shared += [each for each in models_in(model) if each not in shared and each not in elsewhere]
    for model in shared:
        yield from record(title_of(model), model)


def frames() -> Iterator[str]:
    """The columns of every frame that runs are read as."""
    yield from heading("Frames of `claas.results`")
    yield (
        f"Version {FRAMES_VERSION}, as in `frame.attrs`. [Results as data](data.md) shows how to use them. `runs` has "
        "a column more for every setting that is not the same in all runs."
    )
    yield ""
    for name, columns in TABLES.items():
        yield from heading(f"`results.{name}`", 3)
        rows = [(f"`{each.name}`", f"`{each.kind}`", escaped(each.meaning)) for each in columns]
        yield from table(("column", "dtype", "meaning"), rows)


def record(title: str, model: type[BaseModel]) -> Iterator[str]:
    """One kind of record: what it is, and its keys."""
    yield from heading(title, 3)
    yield summary(model, whole=True)
    yield ""
    rows = [(f"`{name}`", kind_of(field.annotation)) for name, field in model.model_fields.items()]
    yield from table(("key", "value"), rows)


def models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The kinds of records inside a record, however deep, each where it is first met."""
    for field in model.model_fields.values():
        for inner in parts_of(field.annotation):
            yield inner
            yield from models_in(inner)


def parts_of(kind: Any) -> Iterator[type[BaseModel]]:
    """The models that a type is made of."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield kind
    for part in get_args(kind):
        yield from parts_of(part)


def kind_of(kind: Any) -> str:
    """A type in words, lists and maps as YAML writes them, with a link where it is a record of its own."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return kind_of(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(kind_of(part) for part in sorted(parts, key=lambda part: part is NoneType))
    if origin is list:
        return f"[{kind_of(parts[0])}, ...]"
    if origin is tuple and parts[-1] is Ellipsis:
        return f"[{kind_of(parts[0])}, ...]"
    if origin is tuple:
        return f"[{', '.join(kind_of(part) for part in parts)}]"
    if origin is dict:
        return f"{{name: {kind_of(parts[1])}}}"
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in parts)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return " or ".join(f"`{member.value}`" for member in kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{title_of(kind)}](#{anchor(title_of(kind))})"
    if is_dataclass(kind):
        hints = get_type_hints(cast(type, kind))
        return f"{{{', '.join(f'{each.name}: {kind_of(hints[each.name])}' for each in fields(kind))}}}"
    return {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null"}.get(
        cast(Any, kind), "anything"
    )


def title_of(model: type[BaseModel]) -> str:
    """`PreferenceSummary` as people write it: `preference summary`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).lower()


def summary(kind: type, *, whole: bool = False) -> str:
    """What a class says of itself, in one line; its first paragraph, or all of it."""
    text = inspect.getdoc(kind) or ""
    return escaped(" ".join((text if whole else text.partition("\n\n")[0]).split()))


def heading(title: str, level: int = 2) -> list[str]:
    """A heading, and the empty line after it."""
    return [f"{'#' * level} {title}", ""]


def anchor(title: str) -> str:
    """What a link to a heading names."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, and an empty line after it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def listed(words: Iterable[str]) -> str:
    """Words that are code, with commas."""
    return ", ".join(f"`{word}`" for word in words)


def escaped(text: str) -> str:
    """Text in which nothing is taken for a column's end or for HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
