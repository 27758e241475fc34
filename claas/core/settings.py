"""Settings that several packages share: an SDPO update's, the engines, names of secrets, and where YAML lives."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from claas.core.checks import one_of
from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput

SDPO, SFT = "sdpo", "sft"
"""The objective of an update: the divergence from a teacher that sees the feedback, or cross-entropy on the answers."""


@dataclass
class TrainingConfig:
    """One update of one adapter on one batch."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    objective: str = setting(
        SDPO,
        "sdpo: nearer to a teacher that knows the feedback; sft: cross-entropy on the answers as they are (a run says "
        "arm=sft or controls=[sft])",
        choices=(SDPO, SFT),
    )
    learning_rate: float | None = setting(None, "null: the base model's default", low=0.0, high=1.0, above=True)
    alpha: float = setting(
        0.5,
        "divergence between student and teacher: 0 forward KL, 1 reverse KL",
        low=0.0,
        high=1.0,
    )
    is_clip: float = setting(5.0, "cap of the importance ratio", low=1.0, high=20.0)
    max_grad_norm: float = setting(1.0, "0: gradients are not clipped", low=0.0)
    kl_reg_weight: float = setting(0.0, "weight of the KL (k3 estimate) to the base model", low=0.0, high=1.0)
    teacher_top_k: int = setting(100, "teacher tokens compared one by one; the rest is one bucket", low=10, high=100)
    steps_per_batch: int = setting(4, "optimiser steps on one batch", low=1, high=32)
    feedback_repetitions: int = setting(1, "how often the feedback stands in the teacher's prompt", low=1, high=16)

    def __post_init__(self) -> None:
        check_limits(self, "training.")
        if self.objective == SFT and self.kl_reg_weight > 0:
            raise InvalidInput(
                f"training.kl_reg_weight={self.kl_reg_weight:g} is estimated on answers of the weights themselves; "
                "those of training.objective=sft are not: set it to 0"
            )


EMBEDDED = "claas-tiny"
"""The small model that ships with the project."""

SMOLLM2 = "smollm2"
"""SmolLM2-135M-Instruct, a real chat model that learns on a CPU; `claas.models.sources` finds it."""


@dataclass(frozen=True)
class Mode:
    """One way to answer and to learn: an engine, and what has to be known of it before it is imported.

    `engine` is the import path of its folder, which offers `require_startable` and `open_engine` (see
    `claas.api.modes`). `base_model` is the default one. `extra` names what to install for it, None where that is
    nothing. A run records the versions of `packages`. `policy_gradient`: an update is a policy gradient over sampled
    tokens, which has no `kl_reg_weight`, and to which `alpha` and `teacher_top_k` mean nothing: the gradient is that of
    alpha 1, over the sampled token. `objectives` are those that its updates can have. `learns_with` is the folder of
    another engine that makes its versions. `uses_predictions`: an answer that was predicted comes sooner.
    """

    engine: str
    base_model: str
    extra: str | None = None
    packages: tuple[str, ...] = ()
    policy_gradient: bool = False
    objectives: tuple[str, ...] = (SDPO,)
    learns_with: str | None = None
    uses_predictions: bool = False


_BOTH = (SDPO, SFT)

MODES = {
    "local": Mode(
        "claas.engines.local",
        EMBEDDED,
        "local",
        ("peft", "torch", "transformers"),
        objectives=_BOTH,
        uses_predictions=True,
    ),
    "vllm": Mode(
        "claas.engines.vllm",
        EMBEDDED,
        "vllm",
        ("peft", "torch", "transformers"),
        objectives=_BOTH,
        learns_with="claas.engines.local",
    ),
    "tinker": Mode(
        "claas.engines.tinker",
        "Qwen/Qwen3.6-35B-A3B",
        "tinker",
        ("tinker", "transformers"),
        policy_gradient=True,
        objectives=_BOTH,
    ),
    "modal": Mode("claas.engines.modal", "Qwen/Qwen3-8B", "modal", ("modal",), objectives=_BOTH, uses_predictions=True),
}
"""Every engine there is, by the name that `mode` has on the command line: a new one is a folder and a line here."""

_LEARNING_RATES = {EMBEDDED: 8e-4, SMOLLM2: 1e-4}
_LEARNING_RATE_OF_LARGE_MODELS = 3e-5


def default_base_model(mode: str) -> str:
    """The base model of `mode`; an unknown mode raises `InvalidInput` listing the known ones."""
    one_of("mode", mode, MODES)
    return MODES[mode].base_model


def require_trainable(mode: str, training: TrainingConfig) -> None:
    """Raise `InvalidInput` for training settings that `mode` does not support; an unknown mode refuses nothing."""
    if mode not in MODES:
        return
    if training.objective not in MODES[mode].objectives:
        raise InvalidInput(
            f"training.objective={training.objective} is not possible with mode={mode}, whose updates are "
            f"{' or '.join(MODES[mode].objectives)} only; leave the arm {training.objective} out"
        )
    if MODES[mode].policy_gradient and training.kl_reg_weight > 0:
        raise InvalidInput(
            f"training.kl_reg_weight={training.kl_reg_weight:g} is not possible with mode={mode}; set it to 0"
        )


def default_learning_rate(base_model: str) -> float:
    """The default learning rate of `base_model`: tuned for the two models that have a name here, else 3e-5."""
    return _LEARNING_RATES.get(base_model, _LEARNING_RATE_OF_LARGE_MODELS)


_PACKAGE = Path(__file__).resolve().parents[1]


def config_root() -> Path:
    """The `configs/` directory of this installation, whatever the working directory."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


API_KEY_VARIABLE = "CLAAS_API_KEY"
"""The bearer token that the API wants, read by the server and by its clients."""

TOKEN_VARIABLE = "OPENCLAW_GATEWAY_TOKEN"
"""The bearer token that an OpenClaw gateway wants, read where it is started and by its clients."""

MODAL_VARIABLES = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET")
"""The token of a Modal account, which Modal's own package reads, here or from its own file."""


DEFAULT_ALIAS = "claas"
"""The model id that the gateway is configured with once and for all: at the API, an alias of the adapter under test."""
