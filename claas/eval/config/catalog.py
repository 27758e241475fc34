"""Preferences and metrics by name: the shipped ones, and those in a folder of the user's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ConfigDict

from claas.core.configs import config_root
from claas.core.errors import InvalidInput
from claas.eval.config import yaml_files
from claas.eval.config.preference_file import read_preference
from claas.eval.config.targets import build
from claas.eval.config.yaml_files import ConfigDir
from claas.eval.metric import Metric
from claas.eval.preference import Preference


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
