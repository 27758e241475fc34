"""A resumed run is refused where the stack makes other prompts of the same conversations."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from claas.core.errors import InvalidInput
from claas.eval.stacks.stack import CompletionScore
from claas.results.records import AdapterVersion
from tests.eval.scripted_run import run, settings
from tests.fakes.stack import FakeStack


@dataclass
class Templated(FakeStack):
    """A stack that says which tokens it makes of a prompt."""

    digest: str | None = "as it was"

    async def score(
        self, adapter: AdapterVersion, messages: Sequence[Mapping[str, str]], completion: str
    ) -> CompletionScore:
        return replace(await super().score(adapter, messages, completion), prompt_digest=self.digest)


def test_a_run_is_not_continued_with_a_template_that_has_changed(tmp_path: Path) -> None:
    stack = Templated()
    asyncio.run(run(stack, settings(tmp_path / "run", num_steps=1)))
    stack.digest = "of the next day"
    asked = len(stack.asked)
    with pytest.raises(InvalidInput, match="tokenises a conversation differently"):
        asyncio.run(run(stack, settings(tmp_path / "run", num_steps=2)))
    assert len(stack.asked) == asked + 1, "nothing was trained or measured"
    for said in ("as it was", None):
        stack.digest = said
        asyncio.run(run(stack, settings(tmp_path / "run", num_steps=2 if said else 3)))
