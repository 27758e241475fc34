"""Hydra's plugins: a launcher takes the jobs of a sweep to other processes or machines, a sweeper chooses them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from hydra._internal.callbacks import Callbacks  # Hydra has no public way to ask for its launcher
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf

PACKAGES = {
    "hydra/launcher": {
        "basic": None,
        "joblib": "hydra-joblib-launcher",
        "ray": "hydra-ray-launcher",
        "submitit_local": "hydra-submitit-launcher",
        "submitit_slurm": "hydra-submitit-launcher",
    },
    "hydra/sweeper": {"basic": None, "optuna": "hydra-optuna-sweeper"},
}
"""What to install for each launcher and each sweeper; None for those that come with Hydra."""

_BASIC = "hydra._internal.core_plugins.basic_"
_QUIET = ("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.sweep.subdir=.")
"""Runs keep their own records; in the sweep's folder of Hydra's is what a launcher writes of its own."""


@dataclass(frozen=True)
class PluggedIn:
    """The plugins that a sweep is run by. `config` is what they were composed from, `context` how jobs are, and
    `config_dir` is the user's folder of YAML files."""

    config: DictConfig
    context: Any
    config_dir: Path | None

    @property
    def searches(self) -> bool:
        """Whether a sweeper says which jobs there are, one after another, from what became of those before."""
        return not str(self.config.hydra.sweeper._target_).startswith(_BASIC)

    def launch(self, task: Callable[[DictConfig], Any], jobs: Sequence[Sequence[str]]) -> list[Any]:
        """What `task` gives for each job, given as its overrides; a task that raises does so here."""
        launcher = Plugins.instance().instantiate_launcher(self.context, task, self.config)
        return [job.return_value for job in launcher.launch([list(job) for job in jobs], initial_job_idx=0)]

    def search(self, task: Callable[[DictConfig], float]) -> None:
        """Run `task`, which gives what is optimised, as often as the sweeper wants to."""
        sweeper = Plugins.instance().instantiate_sweeper(
            hydra_context=self.context, task_function=task, config=self.config
        )
        sweeper.sweep(cast(list[str], OmegaConf.to_container(self.config.hydra.overrides.task, resolve=False)))


def plugged_in(config_name: str, overrides: Sequence[str], config_dir: Path | None) -> PluggedIn | None:
    """The plugins that these overrides choose, once Hydra is initialised; None where they are the built-in ones."""
    loader = GlobalHydra.instance().config_loader()
    config = loader.load_configuration(
        config_name=config_name,
        overrides=[*_QUIET, f"hydra.sweep.dir=data/sweeps/{datetime.now(UTC):%Y%m%d-%H%M%SZ}", *overrides],
        run_mode=RunMode.MULTIRUN,
        validate_sweep_overrides=False,
    )
    chosen = (config.hydra.launcher._target_, config.hydra.sweeper._target_)
    if all(str(target).startswith(_BASIC) for target in chosen):
        return None
    return PluggedIn(config, HydraContext(config_loader=loader, callbacks=Callbacks(config)), config_dir)
