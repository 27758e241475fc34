"""A preference as its YAML file says it: the fields, and what they must not contradict."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from claas.core.errors import InvalidInput
from claas.eval.config import yaml_files
from claas.eval.config.targets import build
from claas.eval.metrics.wording import folded
from claas.eval.preference import LogprobPair, NonAnswer, OutOfScope, Preference
from claas.eval.verifier import Verifier

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Message(_Closed):
    role: Text
    content: Text


class _Pair(_Closed):
    prompt_messages: list[_Message] = Field(min_length=1)
    positive_response: Text
    negative_response: Text
    told_apart: bool = True


class _PreferenceFile(_Closed):
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    feedback_string: Text
    verifier: dict[str, Any]
    logprob_pairs: list[_Pair] = Field(min_length=1)
    probe_prompts: list[Text] = Field(min_length=1)
    heldout_prompts: list[Text] = Field(min_length=1)
    feedback_paraphrases: list[Text] = []
    out_of_scope_prompts: list[Text] = []
    out_of_scope_verifier: dict[str, Any] | None = None
    acceptable: list[NonAnswer] = []


def read_preference(path: Path) -> Preference:
    """The preference in that file. `InvalidInput` with one line on the first mistake."""
    file = yaml_files.checked(_PreferenceFile, yaml_files.read(path), path)
    _require_distinct_sides(file, path)
    _require_no_overlap(file, path)
    return Preference(
        name=file.name,
        feedback_string=file.feedback_string,
        verifier=_verifier(file.verifier, f"{path}: verifier"),
        logprob_pairs=tuple(_pair(pair) for pair in file.logprob_pairs),
        probe_prompts=tuple(file.probe_prompts),
        heldout_prompts=tuple(file.heldout_prompts),
        feedback_paraphrases=tuple(file.feedback_paraphrases),
        out_of_scope=_out_of_scope(file, path),
        acceptable=tuple(dict.fromkeys(file.acceptable)),
    )


def _out_of_scope(file: _PreferenceFile, path: Path) -> OutOfScope | None:
    prompts, verifier = file.out_of_scope_prompts, file.out_of_scope_verifier
    if verifier is None and not prompts:
        return None
    if verifier is None or not prompts:
        missing = "out_of_scope_verifier" if prompts else "out_of_scope_prompts"
        raise InvalidInput(f"{path}: {missing}: this field is missing; prompts and their verifier come together")
    return OutOfScope(tuple(prompts), _verifier(verifier, f"{path}: out_of_scope_verifier"))


def _verifier(config: Mapping[str, Any], where: str) -> Verifier:
    verifier = build(config, where)
    if not callable(verifier):
        raise InvalidInput(f"{where}: {config['_target_']} makes {type(verifier).__name__}, not a callable")
    return cast(Verifier, verifier)


def _pair(pair: _Pair) -> LogprobPair:
    messages = tuple(message.model_dump() for message in pair.prompt_messages)
    return LogprobPair(messages, pair.positive_response, pair.negative_response, pair.told_apart)


def _require_distinct_sides(file: _PreferenceFile, path: Path) -> None:
    for index, pair in enumerate(file.logprob_pairs):
        if pair.positive_response == pair.negative_response:
            raise InvalidInput(f"{path}: logprob_pairs.{index}: positive and negative response are the same")


def _require_no_overlap(file: _PreferenceFile, path: Path) -> None:
    """A prompt belongs to one kind; wording decides, so that "Hi!" and "hi" are the same prompt."""
    probe, heldout, out_of_scope = file.probe_prompts, file.heldout_prompts, file.out_of_scope_prompts
    for prompt in _shared(probe, heldout):
        raise InvalidInput(f"{path}: {prompt!r} is both a probe and a held-out prompt; feedback would train on it")
    for prompt in _shared(probe, out_of_scope):
        raise InvalidInput(f"{path}: {prompt!r} is both a probe and an out-of-scope prompt; feedback would train on it")
    for prompt in _shared(heldout, out_of_scope):
        raise InvalidInput(
            f"{path}: {prompt!r} is both a held-out and an out-of-scope prompt; the preference cannot be wanted and not"
        )


def _shared(some: Iterable[str], others: Iterable[str]) -> list[str]:
    """Those of `others` that have the wording of one of `some`."""
    known = {folded(prompt) for prompt in some}
    return [prompt for prompt in others if folded(prompt) in known]
