"""`python -m claas.api [setting=value ...]`: the API from the command line."""

import os
import sys
from collections.abc import Sequence

from hydra.core.config_store import ConfigStore

from claas.api.config import ApiConfig
from claas.core.command_line import Command, Job, override_value
from claas.core.output import Done, say
from claas.core.settings import API_KEY_VARIABLE, MODES, config_root

_USAGE = """\
claas api [key=value ...]

  claas api port=8081 base_model=Qwen/Qwen3-0.6B    another port, another model
  claas api --config-name vllm                      vLLM answers, its program being vllm_command
  claas api --config-name tinker                    training and sampling at a hosted service
  claas api --config-name modal                     the engine on a GPU at Modal

"""

for name in ("api", *(f"_core_{mode}_schema" for mode in MODES)):  # what a YAML file may build on: the defaults
    ConfigStore.instance().store(name=name, node={})
COMMAND = Command("claas.api", ApiConfig, config_root() / "api", "local", _USAGE)


_VARIABLES_OF_KFALLAH_CLAAS = {
    "CLAAS_BASE_MODEL_ID": "say base_model=...",
    "CLAAS_LORA_ROOT": "say store_dir=..., a folder with a format of its own",
    "CLAAS_CONFIG_NAME": "say --config-name",
    "CLAAS_ATTN_IMPLEMENTATION": "the engine decides it",
    "CLAAS_TINKER_STATE_PATH": "what is at Tinker is on record in store_dir",
}
"""What another program reads and this one does not, and what to do instead."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; the `ExitCode`."""
    for variable, instead in _VARIABLES_OF_KFALLAH_CLAAS.items():
        if os.environ.get(variable):
            say("claas.api", f"{variable} is set, and not read here: {instead}")
    given = sys.argv[1:] if arguments is None else arguments
    return COMMAND.ended(_serve, [*_from_environment(), *given])


def _serve(job: Job[ApiConfig]) -> Done:
    from claas.api.server import serve  # only now: help and mistakes need no server

    serve(job.config, os.environ.get(API_KEY_VARIABLE) or None)
    return Done()


def _from_environment() -> list[str]:
    """The address to listen on from the environment, which overrides files and is overridden by the command line."""
    settings = {"host": os.environ.get("CLAAS_API_HOST"), "port": os.environ.get("CLAAS_API_PORT")}
    return [f"{name}={override_value(value)}" for name, value in settings.items() if value]


if __name__ == "__main__":
    sys.exit(main())
