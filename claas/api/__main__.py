"""`python -m claas.api [setting=value ...]`: the API from the command line."""

import os
import sys
from collections.abc import Sequence

from hydra.core.config_store import ConfigStore

from claas.api.config import ApiConfig
from claas.core.command_line import Command, override_value, say
from claas.core.errors import ClaasError, ExitCode, StackError
from claas.core.settings import API_KEY_VARIABLE, MODES, config_root

_USAGE = """\
python -m claas.api [setting=value ...] [--config-name local|vllm|tinker|modal] [--config-dir FOLDER]

  python -m claas.api port=8081 base_model=Qwen/Qwen3-0.6B    another port, another model
  python -m claas.api --config-name vllm                      vLLM answers, its program being vllm_command
  python -m claas.api --config-name tinker                    training and sampling at a hosted service
  python -m claas.api --config-name modal                     the engine on a GPU at Modal

--config-name NAME    the settings in NAME.yaml
--config-dir FOLDER   a folder of yours in which NAME.yaml may be
--cfg job             print the settings that would be used, and serve nothing
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal; anything but that ends with another `ExitCode`, and a bug with its traceback."""
    for variable, instead in _VARIABLES_OF_KFALLAH_CLAAS.items():
        if os.environ.get(variable):
            say("claas.api", f"{variable} is set, and not read here: {instead}")
    try:
        for job in COMMAND.jobs([*_from_environment(), *(sys.argv[1:] if arguments is None else arguments)]):
            from claas.api.server import serve  # only now: help and mistakes need no server

            serve(job.config, os.environ.get(API_KEY_VARIABLE) or None)
    except ClaasError as error:
        say("claas.api", str(error))
        sys.exit(ExitCode.RESUMABLE if isinstance(error, StackError) else ExitCode.MISTAKE)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)


def _from_environment() -> list[str]:
    """What the environment says of where to listen; a file says less than that, the command line more."""
    settings = {"host": os.environ.get("CLAAS_API_HOST"), "port": os.environ.get("CLAAS_API_PORT")}
    return [f"{name}={override_value(value)}" for name, value in settings.items() if value]


if __name__ == "__main__":
    main()
