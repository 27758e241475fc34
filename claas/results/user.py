"""The simulated user of a run: who gives feedback, and on which answers."""

from dataclasses import dataclass

from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput
from claas.results.endpoint import EndpointSettings

ALWAYS, WHEN_VIOLATED, LLM = "always", "when_violated", "llm"
USERS = (ALWAYS, WHEN_VIOLATED, LLM)

ONCE, REPEATS, ESCALATES = "once", "repeats", "escalates"

USER_KEY_VARIABLE = "CLAAS_USER_API_KEY"

_PLAYED = ("base_url", "model", "persona", "wish", "temper", "budget")


@dataclass
class UserConfig(EndpointSettings):
    """Who gives feedback, and on which answers. The settings of an endpoint are those of the model that plays `llm`."""

    kind: str = setting(
        ALWAYS,
        "always: feedback on every answer; when_violated: only on answers that fail the preference's verifier; llm: a "
        "model, given a persona and the answer, decides and writes it",
        choices=USERS,
    )
    patience: int | None = setting(
        3,
        "rounds in a row without a complaint after which when_violated and llm fall silent, and the preference ends; "
        "null: never",
        low=1,
    )
    persona: str = setting("a person who uses an assistant every day", "llm: who it is, in a few words")
    wish: str | None = setting(
        None, "llm: what it wants from every answer; null: the preference's feedback, item by item"
    )
    temper: str = setting(
        REPEATS,
        "llm: once: complains in one round and never again; repeats; escalates: is told what it said before, and to "
        "be more insistent",
        choices=(ONCE, REPEATS, ESCALATES),
    )
    budget: float | None = setting(
        None,
        "llm: stop before the call that would exceed this, in the currency of prices.user_prompt and "
        "prices.user_completion; the run can be resumed",
        low=0.0,
        above=True,
    )

    def __post_init__(self) -> None:
        check_limits(self, "user.")
        default = UserConfig.__dataclass_fields__
        given = [name for name in _PLAYED if getattr(self, name) != default[name].default]
        if self.kind != LLM and given:
            raise InvalidInput(f"user.{given[0]} is no setting of user={self.kind}; leave it out, or choose user=llm")

    @property
    def leaves_after(self) -> int | None:
        """Rounds without a complaint after which the user falls silent; None for a user who never does."""
        return None if self.kind == ALWAYS else self.patience
