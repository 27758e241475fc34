"""Hydra composes, and does nothing else: from command-line arguments to the runs they ask for."""

import io
import os
import re
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from claas.core.errors import InvalidInput
from claas.core.settings import config_root
from claas.eval.config.catalog import known_metrics, known_preferences
from claas.results.settings import EvalConfig, eval_config, unknown_key


@dataclass(frozen=True)
class Job:
    """One run that was asked for, and the arguments that ask for it alone."""

    config: EvalConfig
    arguments: tuple[str, ...]


def compose(arguments: Sequence[str]) -> list[Job]:
    """The runs that `arguments` ask for, all of them checked; more than one with `-m`.

    `InvalidInput` with one line on the first mistake.
    """
    jobs: list[Job] = []

    def collect(composed: DictConfig) -> None:
        jobs.append(_job(composed))

    main = hydra.main(version_base="1.3", config_path=str(config_root()), config_name="base")(collect)
    try:
        with _hydra_without_traces(arguments), _argument_errors():
            main()
    except InvalidInput:
        raise
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise _mistake(error) from error
    return jobs


@contextmanager
def _hydra_without_traces(arguments: Sequence[str]) -> Generator[None, None, None]:
    """Hydra reads `arguments`, raises what is wrong, logs nothing, and writes only where nobody will look."""
    before, full_error = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    with _scratch() as scratch:
        first = next((at for at, argument in enumerate(arguments) if _is_override(argument)), len(arguments))
        # Beside the first override, because argparse takes positional arguments only where they stand together.
        sys.argv = [before[0], *arguments[:first], *_quiet(scratch), *arguments[first:]]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come out as they are, not printed with a trace
        try:
            yield
        finally:
            sys.argv = before
            if full_error is None:
                del os.environ["HYDRA_FULL_ERROR"]


def _scratch() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory()
    except OSError as error:
        raise InvalidInput(
            f"cannot make a temporary folder: {error.strerror}; free some space, or set TMPDIR to another place"
        ) from error


@contextmanager
def _argument_errors() -> Generator[None, None, None]:
    """Hydra's options are read by argparse, which prints what is wrong and exits."""
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit as end:
        if end.code:
            lines = said.getvalue().strip().splitlines() or ["Hydra stopped"]
            raise InvalidInput(lines[-1].partition("error: ")[2] or lines[-1]) from None


def _is_override(argument: str) -> bool:
    return "=" in argument and not argument.startswith("-")


def _quiet(scratch: str) -> list[str]:
    return [
        f"hydra.run.dir={scratch}",
        f"hydra.sweep.dir={scratch}",
        "hydra.output_subdir=null",
        "hydra/job_logging=none",
        "hydra/hydra_logging=none",
    ]


def _job(composed: DictConfig) -> Job:
    values = cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True, throw_on_missing=True))
    config, found = eval_config(values), HydraConfig.get()
    folder = next((source.path for source in found.runtime.config_sources if source.provider == "command-line"), None)
    arguments: list[str] = []
    if folder is not None:
        arguments += ["--config-dir", folder]
    if found.job.config_name != "base":
        arguments += ["--config-name", str(found.job.config_name)]
    chosen = config.config_dir or folder
    if chosen is not None:
        config = replace(config, config_dir=str(Path(chosen).expanduser().resolve()))
    return Job(config, (*arguments, *found.overrides.task))


def _mistake(error: Exception) -> InvalidInput:
    """What Hydra says in many ways, on one line, with the key that was meant."""
    said = " ".join(str(error).split())
    unknown = re.match(r"Could not override '([^']+)'", said)
    if unknown:
        return unknown_key(unknown[1])
    if said.startswith("Error parsing override") or "hydra.cc" in said:
        shown = re.search(r"'([^']+)'", said)
        where = f" at {shown[1]!r}" if shown else ""
        return InvalidInput(
            f"cannot read the arguments{where}: each is key=value, a list is key=[a,b], and text with other characters "
            "than letters, digits and ./:_- stands in quotes of its own: 'key=\"some text\"'"
        )
    if missing := re.match(r"Cannot find primary config '([^']+)'", said):
        return InvalidInput(
            f"there is no config {missing[1]!r}: --config-name takes the name of a YAML file in the folder given as "
            "--config-dir"
        )
    if said.startswith("Ambiguous value for argument"):
        return InvalidInput(f"{said.partition(' 1. ')[0]}: write a list as key=[a,b]; to run each value, add -m")
    cause = "" if error.__cause__ is None else f" ({' '.join(str(error.__cause__).split())})"
    return InvalidInput(f"{said}{cause}")


_USAGE = """\
python -m claas.eval [key=value ...] [--config-dir FOLDER] [--config-name NAME] [-m]

  python -m claas.eval 'preferences=[concise]' num_steps=20    one preference
  python -m claas.eval output_dir=data/evals/mine              the same command again continues the run
  python -m claas.eval -m seed=1,2,3                           one run for each value
  python -m claas.eval training.learning_rate=0.0005           a setting within a section

--config-dir FOLDER   a folder of yours, searched before the shipped one
--config-name NAME    the settings in FOLDER/NAME.yaml in place of base.yaml
-m                    one run for each value of a list a,b,c
"""


def help_text(arguments: Sequence[str]) -> str:
    """What `--help` among `arguments` prints; the settings are the shipped YAML files themselves, comments included.

    With `--config-dir`, the names in that folder are listed, too.
    """
    config_dir, root = _config_dir(arguments), config_root()
    metrics, presets = known_metrics(config_dir)
    return "\n".join(
        [
            _USAGE,
            f"preferences: {', '.join(known_preferences(config_dir))}",
            f"metrics: {', '.join(metrics)}; presets: {', '.join(presets)}",
            "",
            (root / "base.yaml").read_text(encoding="utf-8"),
            "criteria:  # thresholds of the verdict, as in criteria.heldout_compliance=0.9",
            *(f"  {line}" for line in _settings((root / "criteria" / "default.yaml").read_text(encoding="utf-8"))),
        ]
    )


def _config_dir(arguments: Sequence[str]) -> str | None:
    for option, value in zip(arguments, [*arguments[1:], ""], strict=True):
        if option in ("--config-dir", "-cd") and value:
            return value
        if option.startswith("--config-dir="):
            return option.partition("=")[2]
    return None


def _settings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and not line.startswith("#")]
