"""The answers this API gave, as sampled, so that feedback on one trains on exactly its tokens."""

import hashlib
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from claas.api.conversation import folded, last_user_text
from claas.api.journal import Journal
from claas.core.errors import StackError
from claas.core.text import visible_key
from claas.engines.base import Sample
from claas.wire.rollouts import Rollout


class RolloutStore:
    """The newest `capacity` answers, found by id or by what a person saw; survives a restart."""

    def __init__(self, path: Path, capacity: int) -> None:
        self._journal = Journal(path, capacity, lambda line: _keys(Rollout.model_validate_json(line)))

    async def record(
        self, messages: Sequence[Mapping[str, str]], sample: Sample, truncated_prompt_tokens: int
    ) -> Rollout:
        """Keep one answer to `messages`, from which so many tokens had been cut.

        It outlives a power cut when this returns, so that whoever is told of it may name it in feedback later. Answers
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
            truncated_prompt_tokens=truncated_prompt_tokens,
        )
        self._journal.append(rollout.model_dump_json().encode(), _keys(rollout))
        await self._journal.sync()
        return rollout

    def with_id(self, rollout_id: str) -> Rollout | None:
        """The answer recorded under this id."""
        return self._find(_id_key(rollout_id))

    def that_showed(self, text: str) -> Rollout | None:
        """The latest answer that reads like `text`, whatever weights gave it."""
        return self._find(_text_key(visible_key(text)))

    def said_by(self, lora_id: str, text: str, prompt: str) -> Rollout | None:
        """The answer that reads like `text`, given to `prompt` by this adapter or by the base model.

        The latest one given to exactly this prompt, else the latest whose last user turn contains it: a gateway
        may have put something around what the person wrote. White space does not matter.
        """
        shown = visible_key(text)
        for owner in (lora_id, None):
            if exact := self._find(_prompt_key(owner, shown, prompt)):
                return exact
        for owner in (lora_id, None):
            latest = self._find(_owner_key(owner, shown))
            if latest and folded(prompt) in folded(last_user_text(latest.messages)):
                return latest
        return None

    def close(self) -> None:
        """Let go of the file; every line is in it already."""
        self._journal.close()

    def _find(self, key: str) -> Rollout | None:
        line = self._journal.find(key)
        return None if line is None else Rollout.model_validate_json(line)


def _keys(rollout: Rollout) -> tuple[str, ...]:
    shown, owner = visible_key(rollout.text), rollout.lora_id
    return (
        _id_key(rollout.id),
        _text_key(shown),
        _owner_key(owner, shown),
        _prompt_key(owner, shown, last_user_text(rollout.messages)),
    )


def _id_key(rollout_id: str) -> str:
    return f"id {rollout_id}"


def _text_key(shown: str) -> str:
    return f"text {shown}"


def _owner_key(lora_id: str | None, shown: str) -> str:
    return f"owner {lora_id or ''} {shown}"


def _prompt_key(lora_id: str | None, shown: str, prompt: str) -> str:
    return f"prompt {lora_id or ''} {shown} {hashlib.sha256(folded(prompt).encode()).hexdigest()}"
