"""Runs drawn by seed from the recorded answers of `data/examples`, so that what is true of them is known."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claas.results.evidence import by_item, item_of
from claas.results.keys import Items, Key, Role
from claas.results.manifest import PlannedTrack
from claas.results.records import Baseline, History, StepRecord, Transcript
from claas.results.run_files import RunFiles, declared_keys

EXAMPLE = Path(__file__).resolve().parents[1] / "data" / "examples" / "concise-3-steps"

HELDOUT, MARGINS, SCOPE = "compliance/heldout/", "logprob_margin/", "scope/"
KNOWLEDGE, FORM_OUT_OF_SCOPE = "general/knowledge/", "general/out_of_scope/"
"""Names of some kinds of items: their metric, and how they begin."""

Item = Sequence[Sequence[Transcript]]
"""The transcripts of one item: at baseline, and after each update."""

Answers = Mapping[str, Sequence[Item]]
"""Items by kind."""

Pick = Callable[[str], int]
"""After how many updates the next item of a kind is taken."""


@dataclass(frozen=True)
class Example:
    """The recorded run, and its items that are judged or that a page's alarm is about."""

    keys: tuple[Key, ...]
    kinds: Mapping[str, Items]
    items: Answers
    baseline: Baseline
    step: StepRecord

    @classmethod
    def read(cls) -> "Example":
        """From its folder."""
        files = RunFiles(EXAMPLE).preference("concise")
        baseline, steps = files.read_baseline(), files.read_steps()
        assert baseline is not None, "it is complete"
        keys = declared_keys(files.read_metadata())
        judged = [key.items for key in keys if key.items and (key.criterion or key.role is Role.OVER_APPLIED)]
        kinds = {f"{items.metric}/{items.prefix}": items for items in judged}
        recorded = [record.rollouts for record in (baseline, *steps)]
        found = {kind: _items(recorded, items) for kind, items in kinds.items()}
        return cls(keys, kinds, {kind: items for kind, items in found.items() if items}, baseline, steps[-1])

    def drawn(self, noise: random.Random) -> Answers:
        """As many items of each kind as were recorded, with replacement, each under a name of its own."""
        return {kind: self.named(kind, noise.choices(items, k=len(items))) for kind, items in self.items.items()}

    def named(self, kind: str, items: Sequence[Item]) -> list[Item]:
        """Items that may be there more than once, each under a name of its own."""
        return [
            [[_named(transcript, self.kinds[kind], place) for transcript in found] for found in item]
            for place, item in enumerate(items)
        ]

    def values(self, kind: str, transcripts: Sequence[Transcript]) -> list[float]:
        """What the items of a kind among these transcripts come to."""
        return [value for value in by_item(transcripts, self.kinds[kind]).values() if value is not None]

    def history(self, before: Sequence[Transcript], after: Sequence[Transcript], name: str = "concise") -> History:
        """A run of one step. Its recorded values only say what was measured: a verdict is made of the transcripts."""
        baseline = self.baseline.model_copy(update={"rollouts": list(before), "preference": name})
        step = self.step.model_copy(update={"rollouts": list(after), "preference": name, "step": 0})
        return History(name, 1, baseline, (step,), keys=self.keys)


def measured(answers: Answers, pick: Pick) -> list[Transcript]:
    """One measurement: every item as it was recorded after so many updates as `pick` says of it."""
    return [transcript for kind, items in answers.items() for item in items for transcript in item[pick(kind)]]


def planned(controls: Sequence[str]) -> list[PlannedTrack]:
    """The track of a run of one step, and those of its controls."""
    run = PlannedTrack(name="concise", adapter="concise", preference="concise", num_steps=1)
    names = {arm: f"concise.{arm}" for arm in controls}
    beside = [
        run.model_copy(update={"name": name, "adapter": name, "arm": arm, "control_of": run.name})
        for arm, name in names.items()
    ]
    return [run, *beside]


def _items(recorded: Sequence[Sequence[Transcript]], items: Items) -> list[Item]:
    """Those that were measured every time."""
    by_name: list[dict[str, list[Transcript]]] = [{} for _ in recorded]
    for found, rollouts in zip(by_name, recorded, strict=True):
        for rollout in rollouts:
            name = item_of(rollout, items)
            if name is not None:
                found.setdefault(name, []).append(rollout)
    return [[found[name] for found in by_name] for name in by_name[0] if all(name in found for found in by_name)]


def _named(transcript: Transcript, items: Items, place: int) -> Transcript:
    name = item_of(transcript, items)
    assert name is not None, "it is one of them"
    return transcript.model_copy(update={"item": f"{items.prefix}{place}{transcript.item.removeprefix(name)}"})
