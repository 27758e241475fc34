"""The command line of `claas.eval`: from its arguments to the runs they ask for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from claas.core.command_line import Command, Job
from claas.core.settings import config_root
from claas.results.settings import EvalConfig

_USAGE = """\
claas eval [key=value ...]

  claas eval 'preferences=[concise]' num_steps=20    one preference
  claas eval output_dir=data/evals/mine              the same command again continues the run
  claas eval -m seed=1,2,3                           one run for each value
  claas eval training.learning_rate=0.0005           a setting within a section

"""


def compose(arguments: Sequence[str]) -> list[Job[EvalConfig]]:
    """The runs that `arguments` ask for, all of them checked; more than one with `-m`.

    `InvalidInput` with one line on the first mistake, and `Shown` where something is to be shown instead.
    """
    return [with_folder(job) for job in COMMAND.jobs(arguments)]


def with_folder(job: Job[EvalConfig]) -> Job[EvalConfig]:
    """The folder of YAML files is part of the run, so that it is found again when the run is continued elsewhere."""
    chosen = job.config.config_dir or job.config_dir
    if chosen is None:
        return job
    return replace(job, config=replace(job.config, config_dir=str(Path(chosen).expanduser().resolve())))


def _names(config_dir: Path | None) -> list[str]:
    from claas.eval.config.catalog import (  # only for help: every metric
        known_criteria,
        known_metrics,
        known_preferences,
    )

    metrics, presets = known_metrics(config_dir)
    return [
        f"preferences: {', '.join(known_preferences(config_dir))}",
        f"metrics: {', '.join(metrics)}; presets: {', '.join(presets)}",
        "thresholds, each set as in criteria.heldout_compliance=0.9:",
        *(
            f"  {name}: {criterion.threshold:g}  # {criterion.meaning}"
            for name, (_, criterion) in known_criteria(config_dir).items()
        ),
    ]


COMMAND = Command("claas.eval", EvalConfig, config_root(), "base", _USAGE, _names, can_sweep=True)
