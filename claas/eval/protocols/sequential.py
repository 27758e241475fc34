"""The protocol sequential, and its metric: does the first preference survive the last?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from claas.core.concurrency import together
from claas.eval.metrics.compliance import judged, key_of_part, mean_score, name_in_key
from claas.eval.metrics.metric import Measurement, Subject, counted
from claas.eval.metrics.preference import Preference
from claas.eval.protocols.kinds import require_several, steps_of
from claas.eval.protocols.tracks import Track, rounds_of
from claas.results.keys import Key
from claas.results.settings import EvalConfig


def sequential(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """One preference after the other on one adapter; after the last round of each, all the others are measured, too."""
    require_several(config, preferences)
    tracks: list[Track] = []
    for each in preferences:
        steps = steps_of(config, each)
        across = Across(tuple(other for other in preferences if other is not each), at_step=steps - 1)
        tracks.append(Track(each.name, "sequential", each, rounds_of(each, steps, config), {"across": across}))
    return tracks


@dataclass(frozen=True)
class Across:
    """`across.<preference>`: held-out compliance with every other preference of the run, after the step `at_step`.

    With the held-out compliance of the preference that the adapter is trained on, that is a row of the matrix of
    `claas.results.transfer`.
    """

    others: tuple[Preference, ...]
    at_step: int

    def keys_for(self, preference: Preference) -> tuple[Key, ...]:
        """One for each of the others."""
        return tuple(key_of_part(other.name, f"{other.name}/", "across") for other in self.others)

    def due(self, step: int | None, checkpoints: frozenset[int]) -> bool:
        """After that step only; the baselines of all preferences are of the same version."""
        return step == self.at_step

    def ending_at(self, step: int) -> "Across":
        """After this step, which is the last one."""
        return replace(self, at_step=step)

    async def measure(self, subject: Subject) -> Measurement:
        """Answer every held-out prompt of the others, each judged by its own preference."""
        asked = [(other.name, each) for other in self.others for each in other.held_out()]
        answers = await together(judged(subject, "across", each, f"{name}/{each.item}") for name, each in asked)
        values = {
            name_in_key(other.name): mean_score(
                answer for (name, _), answer in zip(asked, answers, strict=True) if name == other.name
            )
            for other in self.others
        }
        return Measurement({"across": values}, {"across": counted(answers)}, tuple(answers))
