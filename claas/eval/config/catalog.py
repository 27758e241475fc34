"""Preferences and metrics by name: their YAML read, checked and made into objects."""

import difflib
import functools
import os
import sys
from collections import Counter
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, cast

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic.config import JsonDict

from claas.core import yaml_files
from claas.core.errors import ClaasError, InvalidInput
from claas.core.settings import config_root
from claas.core.text import folded
from claas.core.yaml_files import ConfigDir
from claas.eval.metrics.metric import Metric, declared
from claas.eval.metrics.preference import Form, LogprobPair, NonAnswer, Opposite, OutOfScope, Preference, Verifier
from claas.results.estimates import require_threshold, threshold_of
from claas.results.keys import Criterion, Key, judged
from claas.results.settings import CONFIDENCE, confidence_of


def build(config: Mapping[str, Any], where: str) -> Any:
    """The object that `config` describes; modules in the working directory can be named. `where` leads every error."""
    target = config.get("_target_")
    if not isinstance(target, str):
        raise InvalidInput(f"{where}: _target_ must name a class, as in `_target_: my_module.MyClass`")
    try:
        with working_directory_importable():
            return instantiate(dict(config), _convert_="all")
    except InstantiationException as error:
        raise InvalidInput(f"{where}: cannot make {target}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The deepest cause, in one line; what we said ourselves of a cause is better than the cause."""
    while not isinstance(error, ClaasError) and (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{error.title} {'.'.join(map(str, first['loc']))}: {first['msg']}, got {first['input']!r}"
    text = " ".join(str(error).split())
    return text if isinstance(error, ClaasError) else f"{type(error).__name__}: {text}"


@contextmanager
def working_directory_importable() -> Generator[None, None, None]:
    """Let modules in the working directory be imported, after all others."""
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1), Field(json_schema_extra={"pattern": r"\S"})
]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


_TARGET: JsonDict = {"properties": {"_target_": {"type": "string"}}, "required": ["_target_"]}
"""What the JSON schema says of a class to be made; its other keys are the class's own arguments."""


class _Message(_Closed):
    """One turn of a conversation."""

    role: Text
    content: Text


class _Pair(_Closed):
    """An answer with the preference and one without, to the same conversation."""

    prompt_messages: list[_Message] = Field(min_length=1)
    positive_response: Text
    negative_response: Text
    told_apart: bool = Field(
        default=True, description="false where they differ in something that the verifier is not meant to see"
    )


class _Opposite(_Closed):
    """What a user says who wants the contrary from now on, for protocol=flip."""

    feedback_string: Text
    verifier: dict[str, Any] = Field(json_schema_extra=_TARGET)


class PreferenceFile(_Closed):
    """A preference: what the user wants, how to tell whether an answer shows it, and the prompts that ask."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)] = Field(
        description="as in preferences=[name]; the file should be called so, too"
    )
    feedback_string: Text = Field(description="what the user says of every answer")
    verifier: dict[str, Any] = Field(
        description="_target_ names a callable of the response that returns a VerifierResult; other keys are arguments",
        json_schema_extra=_TARGET,
    )
    logprob_pairs: list[_Pair] = Field(min_length=1, description="answers with the preference and without")
    probe_prompts: list[Text] = Field(min_length=1, description="feedback is given on answers to these")
    heldout_prompts: list[Text] = Field(default=[], description="never trained on; at least 16 for a verdict")
    feedback_paraphrases: list[Text] = Field(default=[], description="for feedback_variation=paraphrase")
    out_of_scope_prompts: list[Text] = Field(default=[], description="whose users ask for the opposite")
    out_of_scope_verifier: dict[str, Any] | None = Field(
        default=None, description="1 when such a user got what they asked for", json_schema_extra=_TARGET
    )
    acceptable: list[NonAnswer] = Field(default=[], description="non-answers that show this preference after all")
    opposite: _Opposite | None = None
    touches: list[Form] = Field(default=[], description="the forms that the preference is about")


def read_preference(path: Path) -> Preference:
    """The preference in that file. `InvalidInput` with one line on the first mistake."""
    file = yaml_files.checked(PreferenceFile, yaml_files.read(path), path)
    _require_distinct_sides(file, path)
    _require_no_overlap(file, path)
    return Preference(
        name=file.name,
        feedback_string=file.feedback_string,
        verifier=_verifier(file.verifier, f"{path}: verifier"),
        logprob_pairs=tuple(_pair(pair) for pair in file.logprob_pairs),
        probe_prompts=tuple(file.probe_prompts),
        heldout_prompts=tuple(file.heldout_prompts),
        feedback_paraphrases=tuple(file.feedback_paraphrases),
        out_of_scope=_out_of_scope(file, path),
        acceptable=tuple(dict.fromkeys(file.acceptable)),
        opposite=_opposite(file.opposite, path),
        touches=tuple(dict.fromkeys(file.touches)),
    )


def _opposite(given: _Opposite | None, path: Path) -> Opposite | None:
    if given is None:
        return None
    return Opposite(given.feedback_string, _verifier(given.verifier, f"{path}: opposite.verifier"))


def _out_of_scope(file: PreferenceFile, path: Path) -> OutOfScope | None:
    prompts, verifier = file.out_of_scope_prompts, file.out_of_scope_verifier
    if verifier is None and not prompts:
        return None
    if verifier is None or not prompts:
        missing = "out_of_scope_verifier" if prompts else "out_of_scope_prompts"
        raise InvalidInput(f"{path}: {missing}: this field is missing; prompts and their verifier come together")
    return OutOfScope(tuple(prompts), _verifier(verifier, f"{path}: out_of_scope_verifier"))


def _verifier(config: Mapping[str, Any], where: str) -> Verifier:
    verifier = build(config, where)
    if not callable(verifier):
        raise InvalidInput(f"{where}: {config['_target_']} makes {type(verifier).__name__}, not a callable")
    return cast(Verifier, verifier)


def _pair(pair: _Pair) -> LogprobPair:
    messages = tuple(message.model_dump() for message in pair.prompt_messages)
    return LogprobPair(messages, pair.positive_response, pair.negative_response, pair.told_apart)


def _require_distinct_sides(file: PreferenceFile, path: Path) -> None:
    for index, pair in enumerate(file.logprob_pairs):
        if pair.positive_response == pair.negative_response:
            raise InvalidInput(f"{path}: logprob_pairs.{index}: positive and negative response are the same")


def _require_no_overlap(file: PreferenceFile, path: Path) -> None:
    """A prompt belongs to one kind; wording decides, so that "Hi!" and "hi" are the same prompt."""
    probe, heldout, out_of_scope = file.probe_prompts, file.heldout_prompts, file.out_of_scope_prompts
    for prompt in _shared(probe, heldout):
        raise InvalidInput(f"{path}: {prompt!r} is both a probe and a held-out prompt; feedback would train on it")
    for prompt in _shared(probe, out_of_scope):
        raise InvalidInput(f"{path}: {prompt!r} is both a probe and an out-of-scope prompt; feedback would train on it")
    for prompt in _shared(heldout, out_of_scope):
        raise InvalidInput(
            f"{path}: {prompt!r} is both a held-out and an out-of-scope prompt; the preference cannot be wanted and not"
        )


def _shared(some: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of `others` that have the wording of one of `some`."""
    known = {folded(prompt) for prompt in some}
    return [prompt for prompt in others if folded(prompt) in known]


class _MetricsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    metrics: dict[str, dict[str, Any]] = {}
    presets: dict[str, list[str]] = {}


def known_preferences(config_dir: ConfigDir = None) -> list[str]:
    """The names of the preferences that can be loaded."""
    return yaml_files.known("preference", config_dir)


def known_metrics(config_dir: ConfigDir = None) -> tuple[list[str], list[str]]:
    """The names of the metrics that can be measured, and of the presets."""
    file = _metrics_file(config_dir)
    return list(file.metrics), list(file.presets)


def load_preference(name_or_path: str, config_dir: ConfigDir = None) -> Preference:
    """The preference of that name, or in that YAML file. `InvalidInput` with one line on the first mistake."""
    return read_preference(yaml_files.find("preference", name_or_path, config_dir))


def load_metrics(names: Sequence[str], config_dir: ConfigDir = None) -> dict[str, Metric]:
    """The metrics of these names, presets expanded, each once and in order."""
    file = _metrics_file(config_dir)
    chosen = [metric for name in names for metric in file.presets.get(name, [name])]
    for name in chosen:
        if name not in file.metrics:
            raise InvalidInput(
                f"unknown metric {name!r}; known: {', '.join(file.metrics)}; presets: {', '.join(file.presets)}"
            )
    return {name: _metric(name, file.metrics[name]) for name in dict.fromkeys(chosen)}


def declared_keys(metrics: Mapping[str, Metric], preference: Preference | None = None) -> tuple[Key, ...]:
    """What these metrics declare of their numbers, of those of one preference where one is named.

    `InvalidInput` when two mean different things by one name.
    """
    keys = [key for metric in metrics.values() for key in declared(metric, preference)]
    if any(criterion.name == CONFIDENCE for _, criterion in judged(keys)):
        raise InvalidInput(
            f"no criterion can be called {CONFIDENCE!r}: criteria.{CONFIDENCE} is that of every interval"
        )
    names = [key.key for key in keys] + [f"criteria.{criterion.name}" for _, criterion in judged(keys)]
    for name, times in Counter(names).items():
        if times > 1:
            raise InvalidInput(f"two metrics declare {name!r}; leave one of them out")
    return tuple(keys)


def known_criteria(
    config_dir: ConfigDir = None, chosen: Mapping[str, Metric] | None = None
) -> dict[str, tuple[Key, Criterion]]:
    """Every criterion by its name, with the key that it judges: those of the metrics that were `chosen`, and those of
    all others that can be measured."""
    chosen = chosen or {}
    by_name = {criterion.name: (key, criterion) for key, criterion in judged(declared_keys(chosen))}
    file = _metrics_file(config_dir)
    for name in [name for name in file.metrics if name not in chosen]:
        with suppress(Exception):  # a metric of which anything fails, and that nobody asked for, has no criteria
            for key, criterion in judged(declared_keys({name: _metric(name, file.metrics[name])})):
                by_name.setdefault(criterion.name, (key, criterion))
    return {criterion.name: (key, criterion) for key, criterion in judged(key for key, _ in by_name.values())}


_SPLIT = {"capability_retention": ("knowledge_retention", "form_retention")}
"""What earlier versions judged as one."""


def resolve_criteria(
    criteria: Mapping[str, float],
    metrics: Mapping[str, Metric],
    config_dir: ConfigDir = None,
    preferences: Collection[Preference] = (),
    of_run: Sequence[Key] = (),
) -> dict[str, float]:
    """The threshold of every criterion there is, measured in this run or not, and the confidence.

    Left out, unless it is given, is a criterion whose number all `preferences` of the run have, and none is judged by.
    `of_run` are numbers of the run as a whole that are judged, too.

    `InvalidInput` for a name that no metric declares, and for a threshold that makes no sense.
    """
    by_preference = [{key.key: key for key in declared_keys(metrics, each)} for each in preferences]
    known = known_criteria(config_dir, metrics)
    for key, criterion in judged([*(key for keys in by_preference for key in keys.values()), *of_run]):
        known.setdefault(criterion.name, (key, criterion))
    for name in criteria:
        if name in _SPLIT and name not in known:
            parts = " and ".join(f"criteria.{part}" for part in _SPLIT[name])
            raise InvalidInput(f"criteria.{name} is two criteria now, each with its own items: set {parts}")
        if name != CONFIDENCE and name not in known:
            close = difflib.get_close_matches(name, [*known, CONFIDENCE], n=2)
            names = [f"criteria.{each}" for each in close or [*known, CONFIDENCE]]
            hint = f"did you mean {' or '.join(names)}?" if close else f"known: {', '.join(names)}"
            raise InvalidInput(f"unknown key {f'criteria.{name}'!r}; {hint}")
    thresholds = {name: threshold_of(criterion, criteria) for name, (_, criterion) in known.items()}
    for name, (key, criterion) in known.items():
        require_threshold(key, criterion, thresholds[name])
    for key, criterion in judged(declared_keys(metrics)) if by_preference else []:
        own = [keys.get(key.key) for keys in by_preference]
        if criterion.name not in criteria and all(each is not None and each.criterion is None for each in own):
            del thresholds[criterion.name]
    return thresholds | {CONFIDENCE: confidence_of(criteria)}


def _metrics_file(config_dir: ConfigDir) -> _MetricsFile:
    """The shipped metrics.yaml, and the user's merged over it, with `${config_dir}` filled in."""
    shipped = config_root() / "metrics.yaml"
    users = Path(config_dir).expanduser() / "metrics.yaml" if config_dir is not None else shipped
    paths = [shipped, users] if users != shipped and users.is_file() else [shipped]
    return _merged(None if config_dir is None else str(config_dir), *((path, yaml_files.text(path)) for path in paths))


@functools.lru_cache(maxsize=16)
def _merged(config_dir: str | None, *contents: tuple[Path, str]) -> _MetricsFile:
    """Kept, because a run asks for it several times."""
    paths = [path for path, _ in contents]
    files = [
        yaml_files.checked(_MetricsFile, yaml_files.parsed(path, content), path).model_dump()
        for path, content in contents
    ]
    given = {"config_dir": config_dir}
    try:
        merged = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.merge(given, *files), resolve=True))
    except OmegaConfBaseException as error:
        raise InvalidInput(f"{paths[-1]}: {' '.join(str(error).split())}") from error
    del merged["config_dir"]
    return yaml_files.checked(_MetricsFile, merged, paths[-1])


def _metric(name: str, config: Mapping[str, Any]) -> Metric:
    metric = build(config, f"metric {name}")
    if not callable(getattr(metric, "due", None)) or not callable(getattr(metric, "measure", None)):
        raise InvalidInput(f"metric {name}: {config['_target_']} has no methods due and measure")
    return metric
