"""Tasks without a subject matter: small talk, and questions about who is talking."""

from random import Random

from claas.tiny.corpus import banks
from claas.tiny.corpus.spin import spin
from claas.tiny.corpus.task import Task, capitalized, scuffed

LENGTHS = (4, 5, 5, 6)


def small_talk(rng: Random) -> Task:
    """A greeting, some news, a worry, thanks: answered in a playful tone."""
    scene = rng.choice(list(banks.scenes().values()))
    slots = {slot: rng.choice(values) for slot, values in scene.slots.items()}
    prompt = scuffed(spin(rng.choice(scene.prompts), rng, **slots), rng)

    def write(rng: Random, count: int, _name: str) -> list[str]:
        lead = list(range(min(scene.opening, count)))
        rest = range(scene.opening, len(scene.sentences))
        chosen = rng.sample(rest, max(0, min(count - len(lead), len(rest))))
        return [capitalized(spin(scene.sentences[i], rng)) for i in lead + roughly_ordered(chosen, rng)]

    return Task("social", prompt, write, LENGTHS, scene.emoji)


def who_are_you(rng: Random) -> Task:
    """A question about the assistant; the name leads where one is given."""
    prompt = scuffed(spin(rng.choice(banks.identity()["prompts"]), rng), rng)

    def write(rng: Random, count: int, name: str) -> list[str]:
        bank = banks.identity()
        lead = spin(rng.choice(bank["named" if name else "unnamed"]), rng, name=name)
        chosen = rng.sample(range(len(bank["rest"])), min(count - 1, len(bank["rest"])))
        return [lead, *(spin(bank["rest"][i], rng) for i in roughly_ordered(chosen, rng))]

    return Task("identity", prompt, write, LENGTHS)


def roughly_ordered(indices: list[int], rng: Random) -> list[int]:
    """Near the bank's order, so that a small model loses no track of what it said, yet not always the same."""
    return sorted(indices, key=lambda i: i + rng.random() * 4)
