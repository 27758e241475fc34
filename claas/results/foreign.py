"""Runs of kfallah/CLaaS, whose records have another form: read to be looked at, and never written, judged or continued.

Their numbers are shown as that project's harness computed them. No item has a score on record there that an interval
could be made of, and nothing says which version or weights were measured.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from claas.core.checks import first_problem
from claas.core.errors import InvalidInput
from claas.core.files import open_file, read_lines, read_text
from claas.results.keys import keys_of_schema_1
from claas.results.records import AdapterVersion, Baseline, History, StepRecord, Transcript, Values
from claas.results.run_files import RESERVED

OF_KFALLAH_CLAAS = "a run of kfallah/CLaaS: it can be looked at here, but not judged, compared or continued"


def is_of_kfallah_claas(folder: Path) -> bool:
    """Whether that project's harness wrote what is in a folder without a config.json.

    Its steps are objects that start with the preference, where ours start with the version of their form.
    """
    for steps in sorted(folder.glob("*/steps.jsonl")):
        with suppress(OSError), open_file(steps) as file:
            if file.read(64).replace(b" ", b"").startswith(b'{"preference":'):
                return True
    return False


@dataclass(frozen=True)
class ForeignRun:
    """One run, by preference. `config` is what it recorded of its settings, nothing where it did not.

    The adapters of the histories have an id alone: their version is 0 and their digest empty, which says nothing.
    `problems` say what could not be read.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    histories: dict[str, History]
    problems: tuple[str, ...]

    @property
    def seed(self) -> int | None:
        """Of the run, where it recorded one."""
        seed = self.config.get("seed")
        return seed if isinstance(seed, int) else None


def read_foreign_run(name: str, folder: Path) -> ForeignRun:
    """The run in a folder, as far as it can be read."""
    config: dict[str, Any] = {}
    histories: dict[str, History] = {}
    problems: list[str] = []
    for steps in sorted(folder.glob("*/steps.jsonl")):
        place = steps.parent
        if place.name in RESERVED or place.name.startswith(".") or place.is_symlink():
            continue
        about = _Metadata()
        try:
            about = _read(place / "metadata.json", _Metadata) if (place / "metadata.json").exists() else about
            histories[place.name] = _history(place, about)
        except InvalidInput as error:
            problems.append(str(error))
        config = config or about.config
    return ForeignRun(name, folder, config, histories, tuple(problems))


class _Foreign(BaseModel):
    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class _Rollout(_Foreign):
    metric: str
    messages: list[dict[str, Any]] = Field(default_factory=list[dict[str, Any]])
    metadata: dict[str, Any] = Field(default_factory=dict[str, Any])


class _Measured(_Foreign):
    logprob_margin: dict[str, float | None] | None = None
    preference_compliance: float | None = None
    general: dict[str, float | None] | None = None
    collapse: dict[str, float | None] | None = None
    rollouts: list[_Rollout] = Field(default_factory=list[_Rollout])


class _Step(_Foreign):
    preference: str
    step: int
    timestamp: str
    feedback_given: str | None = None
    sdpo_metrics: dict[str, float | None] | None = None
    eval: _Measured = Field(default_factory=_Measured)
    prompt_used: str | None = None
    response_text: str | None = None
    timing_s: float = 0.0


@dataclass
class _Metadata:
    lora_id: str = ""
    config: dict[str, Any] = field(default_factory=dict[str, Any])


R = TypeVar("R")


def _read(path: Path, kind: type[R]) -> R:
    return _parsed(path, read_text(path), kind)


def _parsed(path: Path, text: str, kind: type[R]) -> R:
    try:
        return TypeAdapter(kind).validate_json(text)
    except ValidationError as error:
        raise InvalidInput(f"{path} cannot be read: {first_problem(error)}") from None


def _history(place: Path, about: _Metadata) -> History:
    """Its numbers are titled as ours of the same key, and judged by no criterion."""
    adapter = AdapterVersion(lora_id=about.lora_id, version=0, digest="")
    path = place / "steps.jsonl"
    steps = [_parsed(path, line, _Step) for line in read_lines(path)]
    for expected, step in enumerate(steps):
        if step.step != expected:
            raise InvalidInput(f"{path} is damaged: line {expected + 1} is of step {step.step}, not {expected}")
    baseline = place / "baseline.json"
    before = _read(baseline, _Measured) if baseline.exists() else None
    planned = about.config.get("num_steps")
    return History(
        preference=place.name,
        planned_steps=max(len(steps), planned if isinstance(planned, int) else 0),
        baseline=before and _baseline(place.name, before, adapter),
        steps=tuple(_record(step, adapter) for step in steps),
        keys=tuple(key.model_copy(update={"criterion": None, "line": None}) for key in keys_of_schema_1()),
    )


def _baseline(preference: str, measured: _Measured, adapter: AdapterVersion) -> Baseline:
    return Baseline(
        preference=preference,
        timestamp="",
        adapter=adapter,
        eval=_values(measured),
        counts={},
        rollouts=list(_transcripts(measured)),
        timing_s={},
        tokens={},
    )


def _record(step: _Step, adapter: AdapterVersion) -> StepRecord:
    return StepRecord(
        preference=step.preference,
        step=step.step,
        timestamp=step.timestamp,
        adapter=adapter,
        feedback_given=step.feedback_given,
        prompts=[] if step.prompt_used is None else [step.prompt_used],
        responses=[] if step.response_text is None else [step.response_text],
        rollout_ids=[],
        sdpo_metrics={name: value for name, value in (step.sdpo_metrics or {}).items() if value is not None},
        eval=_values(step.eval),
        counts={},
        rollouts=list(_transcripts(step.eval)),
        timing_s={"step": step.timing_s},
        tokens={},
    )


def _values(measured: _Measured) -> Values:
    """A metric that is null there was not due or lost, which cannot be told apart, so that it is left out."""
    found: Values = measured.model_dump(exclude={"rollouts"}, exclude_none=False)
    return {metric: value for metric, value in found.items() if value is not None}


def _transcripts(measured: _Measured) -> Iterator[Transcript]:
    """Each is called by its metric and place: they have no names of their own."""
    for place, rollout in enumerate(measured.rollouts):
        said = {str(turn.get("role")): turn.get("content") for turn in rollout.messages}
        score, passed, error = (rollout.metadata.get(key) for key in ("score", "passed", "error"))
        judged: dict[str, float | str | bool | None] = {
            **({"score": float(score)} if isinstance(score, int | float) else {}),
            **({"passed": passed} if isinstance(passed, bool) else {}),
        }
        answer = said.get("assistant")
        yield Transcript(
            metric=rollout.metric,
            item=str(place),
            prompt=str(said.get("user") or ""),
            response=None if answer is None else str(answer),
            error=None if error is None else str(error),
            verdict=judged or None,
        )
