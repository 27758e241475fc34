"""What is deployed under which name: the environment variables that `modal deploy` and this project's API share."""

from collections.abc import Mapping
from dataclasses import dataclass

from claas.core.base_models import DEFAULT_BY_MODE

APP_VARIABLE = "CLAAS_MODAL_APP"
BASE_MODEL_VARIABLE = "CLAAS_MODAL_BASE_MODEL"
GPU_VARIABLE = "CLAAS_MODAL_GPU"
STORE_VARIABLE = "CLAAS_MODAL_STORE"

NO_GPU = "none"

_MODULE = "claas.engines.modal.app"


@dataclass(frozen=True)
class Deployment:
    """One app: its name, the base model it serves, the GPU (`none`: a CPU), and where its volume of adapters lies."""

    app: str = "claas"
    base_model: str = DEFAULT_BY_MODE["modal"]
    gpu: str = "L40S"
    store: str = "/adapters"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Deployment":
        """What the environment says; the defaults where it says nothing."""
        return cls(
            app=environment.get(APP_VARIABLE) or cls.app,
            base_model=environment.get(BASE_MODEL_VARIABLE) or cls.base_model,
            gpu=environment.get(GPU_VARIABLE) or cls.gpu,
            store=environment.get(STORE_VARIABLE) or cls.store,
        )

    @property
    def environment(self) -> dict[str, str | None]:
        """What makes `of` find the same again, in the container."""
        return {
            APP_VARIABLE: self.app,
            BASE_MODEL_VARIABLE: self.base_model,
            GPU_VARIABLE: self.gpu,
            STORE_VARIABLE: self.store,
        }

    @property
    def command(self) -> str:
        """The command that deploys it."""
        default = Deployment()
        values = (
            (APP_VARIABLE, self.app, default.app),
            (BASE_MODEL_VARIABLE, self.base_model, default.base_model),
            (GPU_VARIABLE, self.gpu, default.gpu),
        )
        chosen = [f"{variable}={value}" for variable, value, usual in values if value != usual]
        return " ".join([*chosen, f"modal deploy -m {_MODULE}"])
