"""Preferences and metrics by name: the shipped ones, and those in a folder of the user's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from claas.core.configs import config_root
from claas.core.errors import InvalidInput
from claas.eval.config import yaml_files
from claas.eval.config.targets import build
from claas.eval.config.yaml_files import ConfigDir
from claas.eval.metric import Metric
from claas.eval.metrics.wording import folded
from claas.eval.preference import LogprobPair, Preference
from claas.eval.verifier import Verifier

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Message(_Closed):
    role: Text
    content: Text


class _Pair(_Closed):
    prompt_messages: list[_Message] = Field(min_length=1)
    positive_response: Text
    negative_response: Text


class _PreferenceFile(_Closed):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    feedback_string: Text
    verifier: dict[str, Any]
    logprob_pairs: list[_Pair] = Field(min_length=1)
    probe_prompts: list[Text] = Field(min_length=1)
    heldout_prompts: list[Text] = Field(min_length=1)
    feedback_paraphrases: list[Text] = []


class _MetricsFile(_Closed):
    metrics: dict[str, dict[str, Any]] = {}
    presets: dict[str, list[str]] = {}


def known_preferences(config_dir: ConfigDir = None) -> list[str]:
    """The names of the preferences that can be loaded."""
    return yaml_files.known("preference", config_dir)


def load_preference(name_or_path: str, config_dir: ConfigDir = None) -> Preference:
    """The preference of that name, or in that YAML file. `InvalidInput` with one line on the first mistake."""
    path = yaml_files.find("preference", name_or_path, config_dir)
    file = yaml_files.checked(_PreferenceFile, yaml_files.read(path), path)
    _require_distinct_sides(file, path)
    _require_no_overlap(file, path)
    return Preference(
        name=file.name,
        feedback_string=file.feedback_string,
        verifier=_verifier(file.verifier, path),
        logprob_pairs=tuple(_pair(pair) for pair in file.logprob_pairs),
        probe_prompts=tuple(file.probe_prompts),
        heldout_prompts=tuple(file.heldout_prompts),
        feedback_paraphrases=tuple(file.feedback_paraphrases),
    )


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


def _metrics_file(config_dir: ConfigDir) -> _MetricsFile:
    """The shipped metrics.yaml, and the user's merged over it, with `${config_dir}` filled in."""
    shipped = config_root() / "metrics.yaml"
    users = Path(config_dir).expanduser() / "metrics.yaml" if config_dir is not None else shipped
    paths = [shipped, users] if users != shipped and users.is_file() else [shipped]
    files = [yaml_files.checked(_MetricsFile, yaml_files.read(path), path).model_dump() for path in paths]
    known = {"config_dir": None if config_dir is None else str(config_dir)}
    try:
        found = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.merge(known, *files), resolve=True))
    except OmegaConfBaseException as error:
        raise InvalidInput(f"{paths[-1]}: {' '.join(str(error).split())}") from error
    del found["config_dir"]
    return yaml_files.checked(_MetricsFile, found, paths[-1])


def _metric(name: str, config: Mapping[str, Any]) -> Metric:
    metric = build(config, f"metric {name}")
    if not callable(getattr(metric, "due", None)) or not callable(getattr(metric, "measure", None)):
        raise InvalidInput(f"metric {name}: {config['_target_']} has no methods due and measure")
    return metric


def _verifier(config: Mapping[str, Any], path: Path) -> Verifier:
    verifier = build(config, f"{path}: verifier")
    if not callable(verifier):
        raise InvalidInput(f"{path}: verifier: {config['_target_']} makes {type(verifier).__name__}, not a callable")
    return cast(Verifier, verifier)


def _pair(pair: _Pair) -> LogprobPair:
    messages = tuple(message.model_dump() for message in pair.prompt_messages)
    return LogprobPair(messages, pair.positive_response, pair.negative_response)


def _require_distinct_sides(file: _PreferenceFile, path: Path) -> None:
    for index, pair in enumerate(file.logprob_pairs):
        if pair.positive_response == pair.negative_response:
            raise InvalidInput(f"{path}: logprob_pairs.{index}: positive and negative response are the same")


def _require_no_overlap(file: _PreferenceFile, path: Path) -> None:
    """Held-out prompts are never trained on; wording decides, so that "Hi!" and "hi" are the same prompt."""
    probed = {folded(prompt) for prompt in file.probe_prompts}
    for prompt in file.heldout_prompts:
        if folded(prompt) in probed:
            raise InvalidInput(f"{path}: {prompt!r} is both a probe and a held-out prompt; feedback would train on it")
