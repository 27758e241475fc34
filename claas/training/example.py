"""One answer to learn from, under the prompt of who learns and that of the teacher."""

import math
from dataclasses import dataclass

from claas.core.errors import InvalidInput


@dataclass(frozen=True)
class TrainingExample:
    """One sampled response of T tokens, and the two prompts it is judged under.

    `logprobs` are the sampler's, in nats, under the weights that sampled. An update without a teacher has the student's
    prompt in its place. Raises `InvalidInput` where the parts do not fit together.
    """

    prompt_ids: tuple[int, ...]
    teacher_prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]  # (T,)
    logprobs: tuple[float, ...]  # (T,)

    def __post_init__(self) -> None:
        if not (self.prompt_ids and self.teacher_prompt_ids and self.token_ids):
            raise InvalidInput("a training item needs a prompt, a teacher prompt and a response, none of them empty")
        if len(self.logprobs) != len(self.token_ids):
            raise InvalidInput(f"{len(self.token_ids)} response tokens but {len(self.logprobs)} logprobs")
        for logprob in self.logprobs:
            if not math.isfinite(logprob):
                raise InvalidInput(f"the logprobs of a response must be finite, got {logprob!r}")

    @property
    def longest(self) -> int:
        """Tokens in the longer of the two sequences."""
        return max(len(self.prompt_ids), len(self.teacher_prompt_ids)) + len(self.token_ids)
