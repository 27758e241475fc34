"""`python -m claas.api [--config-name local] [setting=value ...]`: the API from the command line."""

import os
import sys

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from claas.api.config import ApiConfig, register_schema, typed
from claas.api.server import serve
from claas.core.errors import ClaasError, StackError
from claas.core.settings import API_KEY_VARIABLE, config_root


def main() -> None:
    """Exit 0 when stopped by a signal, 2 on the user's mistake, 3 when the stack failed; anything else is a bug."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here as they are, not as Hydra prints them
    try:
        config = _composed()
        if config is not None:
            serve(typed(config), os.environ.get(API_KEY_VARIABLE) or None)
    except ClaasError as error:
        _end(3 if isinstance(error, StackError) else 2, str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _end(2, _reason(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _composed() -> DictConfig | None:
    """The configuration of this command line; None when Hydra only had something to show (`--help`, `--cfg job`)."""
    composed: list[DictConfig] = []

    def keep(config: DictConfig) -> None:
        composed.append(config)

    register_schema()
    hydra.main(version_base="1.3", config_path=str(config_root() / "api"), config_name="local")(keep)()
    return composed[0] if composed else None


def _reason(error: Exception) -> str:
    """What Hydra found wrong, without its advice."""
    said = str(error).splitlines()[0]
    if error.__cause__ is not None:
        said = f"{said} {str(error.__cause__).splitlines()[0]}"
    if f"not in '{ApiConfig.__name__}'" in said:
        said = f"{said}; known: {', '.join(ApiConfig.__dataclass_fields__)}"
    return said


def _end(code: int, message: str) -> None:
    print(f"claas.api: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
