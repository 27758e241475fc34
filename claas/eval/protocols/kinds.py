"""The protocols isolated, mixed and flip: what is learned alone, together, and then unlearned."""

from collections.abc import Sequence

from claas.core.errors import InvalidInput
from claas.eval.metrics.compliance import name_in_key
from claas.eval.metrics.preference import Flipped, Mixture, Preference
from claas.eval.protocols.tracks import Item, Round, Track, feedback_text, in_seeded_order, rounds_of
from claas.results.settings import EvalConfig


def isolated(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """Every preference on an adapter of its own."""
    return [Track(each.name, each.name, each, rounds_of(each, steps_of(config, each), config)) for each in preferences]


def mixed(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """All preferences on one adapter at the same time: every round has answers of each, dealt by seed.

    Each answer is to a probe prompt of one preference, and gets the feedback of that one.
    """
    require_several(config, preferences)
    mixture = Mixture.of(preferences)
    return [Track(mixture.name, mixture.name, mixture, _dealt(config, preferences))]


def flip(config: EvalConfig, preferences: Sequence[Preference]) -> list[Track]:
    """A preference, and from `steps_before` on its opposite, on the same adapter; every answer is judged by both."""
    tracks: list[Track] = []
    for each in preferences:
        if each.opposite is None:
            raise InvalidInput(
                f"protocol=flip: preference {each.name!r} has no opposite; give its YAML file "
                "opposite: {feedback_string: ..., verifier: {_target_: ...}}"
            )
        steps = steps_of(config, each)
        before = config.protocol.steps_before or steps // 2
        if not 0 < before < steps:
            raise InvalidInput(
                f"protocol=flip: with protocol.steps_before={before} and {steps} steps there is no step "
                f"{'before' if before < 1 else 'after'} the flip; num_steps must be greater"
            )
        opposite = [
            tuple(Item(item.prompt, each.opposite.feedback_string, each.opposite.verifier) for item in items)
            for items in rounds_of(each, steps, config)[before:]
        ]
        rounds = (*rounds_of(each, before, config), *opposite)
        tracks.append(Track(each.name, each.name, Flipped.of(each, before), rounds))
    return tracks


def steps_of(config: EvalConfig, preference: Preference) -> int:
    """How many updates a preference gets."""
    return config.protocol.stages.get(preference.name, config.num_steps)


def require_several(config: EvalConfig, preferences: Sequence[Preference]) -> None:
    """`InvalidInput` where there is nothing to learn beside or after the first preference, or two share a key."""
    if len(preferences) < 2:
        raise InvalidInput(
            f"protocol={config.protocol.kind} is about several preferences, got {preferences[0].name} alone; name "
            "others in preferences=[...], or leave the protocol at isolated"
        )
    by_key: dict[str, str] = {}
    for name in [each.name for each in preferences]:
        if (other := by_key.setdefault(name_in_key(name), name)) != name:
            raise InvalidInput(
                f"protocol={config.protocol.kind}: the preferences {other!r} and {name!r} would have one number, "
                f"across.{name_in_key(name)}; rename one of them"
            )


def _dealt(config: EvalConfig, preferences: Sequence[Preference]) -> tuple[Round, ...]:
    """Rounds in which every preference comes once, in a seeded order, before any comes again."""
    asked = dict.fromkeys((each.name for each in preferences), 0)
    rounds: list[Round] = []
    for step in range(config.num_steps):
        items: list[Item] = []
        for place in range(step * config.batch_size, (step + 1) * config.batch_size):
            each = in_seeded_order(preferences, place, config.seed, "mixed", "preference order")
            turn = asked[each.name]
            prompt = in_seeded_order(each.probe_prompts, turn, config.seed, each.name, "prompt order")
            # As many texts of one preference as in a batch of its own come before the next paraphrase.
            said = feedback_text(turn // config.batch_size, each, config.feedback_variation, config.seed)
            items.append(Item(prompt, said, each.verifier, each.acceptable))
            asked[each.name] += 1
        rounds.append(tuple(items))
    return tuple(rounds)
