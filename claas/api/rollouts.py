"""The answers this API gave, as sampled, so that feedback on one trains on exactly its tokens."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from uuid import uuid4

from claas.api.journal import Journal
from claas.api.prompts import last_user_text
from claas.core.errors import StackError
from claas.core.text import visible_key
from claas.engines.base import Sample, SamplingParams
from claas.wire.feedback import Rollout, Sampling

_MOST_LOOKED_AT = 1000
"""Answers that read alike, among which the one to a prompt is looked for."""


class RolloutStore:
    """The newest `capacity` answers, found by id or by what a person saw; survives a restart."""

    def __init__(self, path: Path, capacity: int) -> None:
        self._journal = Journal(path, capacity, _keys)

    async def record(
        self,
        messages: Sequence[Mapping[str, str]],
        params: SamplingParams,
        sample: Sample,
        truncated_prompt_tokens: int,
    ) -> Rollout:
        """Keep one answer to `messages`, from which so many tokens had been cut, sampled by `params`.

        It outlives a power cut when this returns, so that a client may name it in feedback later. Answers
        recorded at the same time share one fsync.
        """
        if not all(math.isfinite(logprob) for logprob in sample.logprobs):
            raise StackError(f"{sample.weights.name} sampled a token whose log probability is not a number")
        rollout = Rollout(
            id=f"rollout-{uuid4().hex}",
            created=time.time(),
            model=sample.weights.name,
            lora_id=sample.weights.lora_id,
            version=sample.weights.version,
            digest=sample.weights.digest,
            messages=[dict(turn) for turn in messages],
            text=sample.text,
            finish_reason=sample.finish_reason,
            prompt_ids=list(sample.prompt_ids),
            token_ids=list(sample.token_ids),
            logprobs=list(sample.logprobs),
            mean_entropy=sample.mean_entropy,
            sampling=Sampling(
                temperature=params.temperature, top_p=params.top_p, seed=params.seed, max_tokens=params.max_tokens
            ),
            truncated_prompt_tokens=truncated_prompt_tokens,
        )
        self._journal.append(rollout.model_dump_json().encode())
        await self._journal.sync()
        return rollout

    def with_id(self, rollout_id: str) -> Rollout | None:
        """The answer recorded under this id."""
        return self._latest(_id_key(rollout_id), lambda _: True)

    def that_showed(self, text: str, prompt: str | None = None, model: str | None = None) -> Rollout | None:
        """The latest answer that reads like `text`, to `prompt` and by the weights `model` where those are named.

        One given to exactly this prompt comes first; else its last user turn must contain it: a gateway may have put
        something around what the person wrote. White space does not matter.
        """
        shown = visible_key(text)

        def by_model(rollout: Rollout) -> bool:
            return model is None or rollout.model == model

        if prompt is None:
            return self._latest(_text_key(shown), by_model)
        return self._latest(_prompt_key(shown, prompt), by_model) or self._latest(
            _text_key(shown), lambda rollout: by_model(rollout) and _contains(rollout, prompt)
        )

    def answered_by(self, lora_id: str, text: str, prompt: str) -> Rollout | None:
        """The answer that reads like `text`, given to `prompt` by this adapter or by the base model.

        The latest one given to exactly this prompt, else the latest whose last user turn contains it.
        """
        shown = visible_key(text)
        for owner in (lora_id, None):
            if exact := self._latest(_prompt_key(shown, prompt), lambda rollout, by=owner: rollout.lora_id == by):
                return exact
        for owner in (lora_id, None):
            if wrapped := self._latest(
                _text_key(shown), lambda rollout, by=owner: rollout.lora_id == by and _contains(rollout, prompt)
            ):
                return wrapped
        return None

    def close(self) -> None:
        """Let go of the file; every line is in it already."""
        self._journal.close()

    def _latest(self, key: str, fits: Callable[[Rollout], bool]) -> Rollout | None:
        """The newest answer under `key` that fits, among the newest of those; a model may say one thing for ever."""
        newest = islice(self._journal.find_all(key), _MOST_LOOKED_AT)
        return next((rollout for rollout in map(Rollout.model_validate_json, newest) if fits(rollout)), None)


def _keys(line: bytes) -> tuple[str, ...]:
    rollout = Rollout.model_validate_json(line)
    shown = visible_key(rollout.text)
    return _id_key(rollout.id), _text_key(shown), _prompt_key(shown, last_user_text(rollout.messages))


def _id_key(rollout_id: str) -> str:
    return f"id {rollout_id}"


def _text_key(shown: str) -> str:
    return f"text {shown}"


def _prompt_key(shown: str, prompt: str) -> str:
    return f"prompt {shown} {hashlib.sha256(_single_spaced(prompt).encode()).hexdigest()}"


def _contains(rollout: Rollout, prompt: str) -> bool:
    return _single_spaced(prompt) in _single_spaced(last_user_text(rollout.messages))


def _single_spaced(text: str) -> str:
    return " ".join(text.split())
