"""What a run is, in a line, and what has to be said of it."""

from collections.abc import Mapping, Sequence

from claas.core.settings import MODES
from claas.results.keys import Key, judged
from claas.results.settings import FEEDBACK, ISOLATED, EvalConfig, left_out


def asked_for(config: EvalConfig, planned: Mapping[str, int]) -> str:
    """What is run: `3 × 20 steps on claas-tiny, learning rate 0.0008, seed 42`."""
    through = "" if config.openclaw_url is None else f" through OpenClaw at {config.openclaw_url}"
    arm = "" if config.arm == FEEDBACK else f"arm {config.arm}, "
    return (
        f"{arm}{_rounds(config, planned)} on {config.base_model}{through}, "
        f"learning rate {config.training.learning_rate}, seed {config.seed}{_without_meaning(config)}"
    )


def notes(config: EvalConfig, keys: Mapping[str, Sequence[Key]]) -> list[str]:
    """What has to be said of it, each on a line."""
    said = [f"{name}: {each.name} is {each.note}" for name, of in keys.items() for _, each in judged(of) if each.note]
    return [*left_out(config), *said]


def _rounds(config: EvalConfig, planned: Mapping[str, int]) -> str:
    """`3 × 20 steps`, or, where they are not alike or share an adapter, each: `sequential: concise 6, identity 20`.

    Controls have as many steps as what they are beside, and are named once.
    """
    trained = config.trained_controls
    beside = f", with {', '.join(trained)} beside" if trained else ""
    own = dict(list(planned.items())[: len(planned) // (1 + len(trained))])
    if set(own.values()) == {config.num_steps} and config.protocol.kind == ISOLATED:
        return f"{len(own)} × {config.num_steps} steps{beside}"
    return f"{config.protocol.kind}: {', '.join(f'{name} {steps}' for name, steps in own.items())} steps{beside}"


def _without_meaning(config: EvalConfig) -> str:
    """The settings that the mode has no use for, said once."""
    if not MODES[config.mode].policy_gradient:
        return ""
    return f"; training.alpha and training.teacher_top_k have no meaning with mode={config.mode}"
