"""The settings of one SDPO update; the same class is the Hydra section and the HTTP body."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

from claas.core.checks import in_range
from claas.core.errors import InvalidInput


@dataclass
class TrainingConfig:
    """One update of one adapter on one batch.

    `learning_rate` None means: the default of the base model (see `claas.core.base_models`). `alpha` weighs the
    generalized Jensen-Shannon divergence between student and teacher (0 forward KL, 1 reverse KL). `is_clip` caps
    the importance ratio. `max_grad_norm` 0 turns clipping off. `kl_reg_weight` weighs the k3 estimate of KL to the
    base model. `teacher_top_k` is how many of the teacher's tokens are compared one by one; the rest is one bucket.
    `steps_per_batch` is the number of optimiser steps on one batch, `feedback_repetitions` how often the feedback
    stands in the teacher's hindsight block.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    learning_rate: float | None = None
    alpha: float = 0.5
    is_clip: float = 5.0
    max_grad_norm: float = 1.0
    kl_reg_weight: float = 0.0
    teacher_top_k: int = 100
    steps_per_batch: int = 4
    feedback_repetitions: int = 1

    def __post_init__(self) -> None:
        if self.learning_rate is not None:
            in_range("training.learning_rate", self.learning_rate, 0.0, above=True)
        in_range("training.alpha", self.alpha, 0.0, 1.0)
        in_range("training.is_clip", self.is_clip, 1.0, 20.0)
        in_range("training.max_grad_norm", self.max_grad_norm, 0.0)
        in_range("training.kl_reg_weight", self.kl_reg_weight, 0.0, 1.0)
        in_range("training.teacher_top_k", self.teacher_top_k, 10, 100)
        in_range("training.steps_per_batch", self.steps_per_batch, 1, 32)
        in_range("training.feedback_repetitions", self.feedback_repetitions, 1, 16)

    def require_policy_gradient(self) -> None:
        """Raise `InvalidInput` on what a policy gradient over sampled tokens (mode=tinker) cannot do.

        `alpha` and `teacher_top_k` have no meaning there: the gradient is that of alpha 1, over the sampled token.
        """
        if self.kl_reg_weight > 0:
            raise InvalidInput(
                f"training.kl_reg_weight={self.kl_reg_weight:g} is not possible with mode=tinker; set it to 0"
            )
