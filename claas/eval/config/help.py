"""`--help`: how to ask for a run, every setting with what it means, and the names that can be chosen."""

from collections.abc import Sequence

from claas.core.configs import config_root
from claas.eval.config.catalog import known_metrics, known_preferences

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
