"""The configuration of a run, checked once, the same from Hydra, from Python and from a record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, cast

from claas.core.checks import adapter_id, alias_name, in_range, is_finite, one_of
from claas.core.configuration import check_limits, checked, require_known, setting
from claas.core.errors import InvalidInput
from claas.core.settings import (
    DEFAULT_ALIAS,
    MODES,
    SDPO,
    SFT,
    TOKEN_VARIABLE,
    TrainingConfig,
    default_base_model,
    default_learning_rate,
    require_trainable,
)
from claas.results.user import ALWAYS, USER_KEY_VARIABLE, WHEN_VIOLATED, UserConfig

CONFIDENCE = "confidence"
"""The one of the `criteria` that is no threshold: the confidence of every interval."""

DEFAULT_CONFIDENCE = 0.95

PARAPHRASE = "paraphrase"
"""The `feedback_variation` in which the wording of the feedback varies."""


@dataclass
class Prices:
    """Prices per million tokens, in any one currency."""

    sample: float = setting(0.0, "of answers sampled", low=0.0)
    prefill: float = setting(0.0, "of tokens read", low=0.0)
    train: float = setting(0.0, "of tokens trained on", low=0.0)
    user_prompt: float = setting(0.0, "of tokens read by a model that plays the user", low=0.0)
    user_completion: float = setting(0.0, "of tokens written by that model", low=0.0)

    def __post_init__(self) -> None:
        check_limits(self, "prices.")


ISOLATED = "isolated"
"""The protocol in which every preference is learned on an adapter of its own; and the control that trains the rounds of
each stage of a sequential run on one."""


@dataclass
class ProtocolConfig:
    """Which adapters are trained, and which feedback their rounds get."""

    kind: str = setting(ISOLATED, "isolated, sequential, mixed, flip, or a function of yours: my_module.my_protocol")
    stages: dict[str, int] = setting(
        {}, "steps of each preference, as in {concise: 6, identity: 20}; num_steps for those not named"
    )
    steps_before: int | None = setting(
        None, "flip: steps before the user asks for the opposite; null: half of num_steps", low=1
    )

    def __post_init__(self) -> None:
        check_limits(self, "protocol.")
        for preference, steps in self.stages.items():
            in_range(f"protocol.stages.{preference}", steps, 1)


FEEDBACK = "feedback"
"""The arm with the protocol's own feedback."""

IN_CONTEXT, IN_CONTEXT_HISTORY = "in_context", "in_context_history"
UNTRAINED = (IN_CONTEXT, IN_CONTEXT_HISTORY)
"""The controls without training: the base model with the feedback, or the conversations so far, in its prompt."""

_NEEDS_MORE = {
    SFT: (
        "its answers come from a model that has the feedback in its prompt, so the feedback cannot depend on them",
        "what the gateway adds to a prompt is not known here, so neither is the prompt to train an answer under",
    ),
    IN_CONTEXT_HISTORY: (
        "no other user is asked for feedback on the base model's answers",
        "a gateway keeps its own sessions",
    ),
}
"""Arms that need feedback independent of the answer, and no gateway, with the reason for each."""

PNG = "png"
PLOT_FORMATS = (PNG, "pdf", "svg")
SCREEN, PAPER = "screen", "paper"
PLOT_STYLES = (SCREEN, PAPER)

PILOT = "pilot"
"""The `plan` that first measures the baseline and one step."""

LIMITED = ("heldout", "out_of_scope", "pairs", "capability")
"""The kinds of items whose number `limit` can bound."""

_NO_MODEL_SERVER = "leave it out, what answers is the API at claas_url, or one in this process"
_KEYS_OF_KFALLAH_CLAAS = {
    "vllm_url": "with mode=vllm, set the environment variable CLAAS_VLLM_URL; else leave it out",
    "vllm_api_key": "with mode=vllm, set the environment variable CLAAS_VLLM_API_KEY; else leave it out",
    "vllm_model_name": _NO_MODEL_SERVER,
    "proxy_url": _NO_MODEL_SERVER,
    "engine": "it is mode here, as in mode=vllm",
    "openclaw_api_key": f"leave it out, and set the environment variable {TOKEN_VARIABLE}",
    "gemini_api_key": f"leave it out; user=llm is played by a model, whose key is in {USER_KEY_VARIABLE}",
}


_CHECKPOINTS_OF_OLD = "collapse_steps"
"""What records of earlier versions call `checkpoints`."""

_FOREIGN_KEYS = {**_KEYS_OF_KFALLAH_CLAAS, _CHECKPOINTS_OF_OLD: "it is called checkpoints"}


@dataclass
class EvalConfig:
    """The settings of a run. `resolved()` replaces None by actual values, and runs always record the resolved ones."""

    FOREIGN_KEYS = _FOREIGN_KEYS

    def __new__(cls, *_: Any, **values: Any) -> Self:
        """`InvalidInput` says what to write instead of a key that does not exist."""
        for key in values:
            require_known(cls, key)
        return super().__new__(cls)

    mode: str = setting("local", "which API to host when claas_url is null", choices=MODES)
    claas_url: str | None = setting(
        None, "a running CLaaS API, such as http://127.0.0.1:8080; null hosts one in this process"
    )
    base_model: str | None = setting(None, "null: the mode's default")
    dtype: str | None = setting(
        None,
        "mode=local: the dtype of the base model's weights; null: bfloat16 on a GPU, float32 on a CPU, where bfloat16 "
        "needs AVX-512 BF16 or AMX and takes half the memory",
        choices=("float32", "bfloat16"),
    )
    preferences: list[str] = setting(
        ["concise", "no_emoji", "identity"], "names of preference/*.yaml, or paths of such files"
    )
    protocol: ProtocolConfig = setting(ProtocolConfig(), "which adapters learn what, and in which order")
    arm: str = setting(
        FEEDBACK,
        "the feedback for the run's own adapters: feedback (the protocol's), placebo (none, no update), neutral "
        "(praise), irrelevant (another preference's feedback), off_policy (feedback on answers of the base model), sft "
        "(cross-entropy on answers of the base model with the feedback in its prompt)",
    )
    controls: list[str] = setting(
        ["in_context"],
        "control arms next to the run, with the same prompts and seeds; also in_context (feedback in the prompt, no "
        "training), in_context_history (the conversations so far before each prompt), isolated (each stage of a "
        "sequential run on a separate adapter)",
    )
    metrics: list[str] = setting(["all"], "metrics, or the presets all and quick")
    num_steps: int = setting(20, "feedback rounds per preference", low=1)
    batch_size: int = setting(4, "answers sampled, and trained on, per step", low=1, high=64)
    feedback_variation: str = setting(
        "none",
        "none: feedback_string at every step; paraphrase: that or a paraphrase of it, drawn by seed",
        choices=("none", PARAPHRASE),
    )
    checkpoints: list[int] | None = setting(
        None,
        "steps (from 0) at which everything is measured; collapse, scope and general are measured only there, and "
        "judged at the last one; those beyond num_steps are ignored; null: five, evenly spread, with the last step",
    )
    user: UserConfig = setting(
        UserConfig(), "who gives feedback, and on which answers; a kind alone is enough, as in user=llm"
    )
    measure_every: int = setting(
        1,
        "measure after every n-th update; the baseline, checkpoints, a flip and the last step are always measured",
        low=1,
    )
    limit: dict[str, int] = setting(
        {},
        "the most items of each kind (heldout, out_of_scope, pairs, capability) to measure, drawn by seed and the same "
        "at every step, as in {heldout: 16}",
    )
    plots: bool = setting(True, "draw plots/* and write report.html at the end")
    plot_formats: list[str] = setting(
        ["png"],
        f"formats of the plots: any of {', '.join(PLOT_FORMATS)}; the last two for papers, the first for loggers and "
        "for pages without JavaScript",
    )
    plot_style: str = setting(
        SCREEN,
        "style of the plots: screen; paper (a column wide, serif, no caption in the picture, dashes that can be told "
        "apart in grey); or the path of a .mplstyle file, which is applied on top of paper",
    )
    seed: int = setting(42, "decides every sampling seed and the order of prompts")
    lora_id_prefix: str = setting("eval", "adapters are called <prefix>/<preference>-<run id>")
    output_dir: str | None = setting(None, "the run's folder; null: data/evals/<UTC time>; an existing run is resumed")
    openclaw_url: str | None = setting(
        None,
        "chat through this OpenClaw gateway, such as http://127.0.0.1:18789; claas_url is the API behind it",
    )
    openclaw_alias: str = setting(
        DEFAULT_ALIAS, "the model that the gateway asks that API for; python -m claas.openclaw --alias sets it there"
    )
    training: TrainingConfig = setting(TrainingConfig(), "one SDPO update")
    criteria: dict[str, float] = setting(
        {CONFIDENCE: DEFAULT_CONFIDENCE},
        "thresholds that replace those declared by the metrics, by criterion, and the confidence of every interval",
    )
    max_concurrency: int = setting(128, "requests in flight", low=1)
    parallel_preferences: int = setting(1, "preferences run in parallel, each with its controls", low=1)
    temperature: float = setting(
        0.7, "sampling temperature of the answers that feedback is given on", low=0.0, high=2.0
    )
    max_tokens: int = setting(400, "the most tokens of every sampled answer", low=1)
    chat_template_kwargs: dict[str, Any] = setting(
        {}, "variables of the model's chat template: {enable_thinking: false} switches off the thinking of Qwen 3"
    )
    request_timeout_s: float = setting(
        600.0,
        "seconds that a request to claas_url or openclaw_url may take before it is retried",
        low=0.0,
        above=True,
    )
    retry_for_s: float = setting(
        120.0,
        "seconds for which a failing request is retried, so that a restart of the API is waited for; at most 4 if a "
        "local engine is hosted in this process",
        low=0.0,
    )
    fail_on_error: bool | float = setting(
        0.1,
        "true: the first lost answer ends a preference; false: none does; 0.1: if more than 10 % of a step are lost",
    )
    plan: bool | str = setting(
        False,
        "true: print the run's requests, detectable effects and cost, and run nothing; pilot: first measure the "
        "baseline and one step, from which the run can continue",
    )
    fail_on_verdict: bool = setting(False, "exit with 4 unless the verdict is pass")
    halt_on_regression: bool = setting(
        False,
        "end a preference at a checkpoint if a task of the metric bench has dropped by more than its criterion allows; "
        "the run can be resumed",
    )
    confirm_regression: bool = setting(
        True, "count only drops beyond noise; false: any drop, which 27 % of runs have even if nothing changed"
    )
    accept_changes: bool = setting(
        False, "resume a run although code or packages have changed; the change is recorded with its first step"
    )
    logger: dict[str, dict[str, Any]] = setting(
        {},
        "services that show the run, as in logger=[tensorboard,wandb]: names of logger/*.yaml, whose settings are set "
        "as in logger.wandb.project=mine",
    )
    logger_wait_s: float = setting(60.0, "seconds that a run waits at its end for its loggers", low=0.0)
    config_dir: str | None = setting(
        None, "your own folder, whose preference/*.yaml, capability/*.yaml and metrics.yaml add to the shipped ones"
    )
    prices: Prices | None = setting(
        None,
        "{sample: 1.2, prefill: 0.4, train: 1.2} per million tokens: the summary then estimates what the run cost",
    )

    def __post_init__(self) -> None:
        if isinstance(cast(object, self.user), str):
            self.user = UserConfig(kind=cast(str, self.user))
        if isinstance(cast(object, self.logger), str | list | tuple):
            names = cast(str | list[str], self.logger)
            self.logger = {name: {} for name in ([names] if isinstance(names, str) else names)}
        check_limits(self)
        if not self.preferences:
            raise InvalidInput("preferences must name at least one preference, got []")
        if not self.metrics:
            raise InvalidInput("metrics must name at least one metric or preset, got []")
        require_plot_formats(self.plot_formats)
        require_plot_style(self.plot_style)
        if self.plan not in (False, True, PILOT):
            raise InvalidInput(f"plan must be true, false or {PILOT}, got {self.plan!r}")
        for name, most in self.limit.items():
            one_of("limit", name, LIMITED)
            in_range(f"limit.{name}", most, 1)
        if len(set(self.controls)) != len(self.controls):
            raise InvalidInput(f"controls must be distinct, got {self.controls}")
        if len(set(self.preferences)) != len(self.preferences):
            raise InvalidInput(f"preferences must be distinct, got {self.preferences}")
        if not isinstance(self.fail_on_error, bool):
            in_range("fail_on_error", self.fail_on_error, 0.0, 1.0)
        if self.chat_template_kwargs and self.openclaw_url is not None:
            raise InvalidInput("chat_template_kwargs cannot be told through a gateway; leave it out or openclaw_url")
        if self.dtype is not None and (self.mode != "local" or self.claas_url is not None):
            raise InvalidInput(
                f"dtype={self.dtype} is of a model that the run holds itself, with mode=local and no claas_url; leave "
                "it out, or start that API with it: python -m claas.api dtype=..."
            )
        _check_criteria(self.criteria)
        if self.user.budget is not None and not (self.prices and self.prices.user_prompt + self.prices.user_completion):
            raise InvalidInput(
                "user.budget needs prices per million tokens, as in prices.user_prompt=2.5 prices.user_completion=10"
            )
        adapter_id(self.lora_id_prefix)
        alias_name(self.openclaw_alias)
        self._check_training()
        for step in self.checkpoints or []:
            in_range("checkpoints", step, 0)

    def _check_training(self) -> None:
        if self.training.objective != SDPO:
            raise InvalidInput(
                f"training.objective={self.training.objective} is not said of a run, whose arm decides it; choose arm="
                f"{SFT} or controls=[{SFT}]"
            )
        for arm, (of_user, of_gateway) in _NEEDS_MORE.items():
            if arm in (self.arm, *self.controls) and self.user.kind != ALWAYS:
                raise InvalidInput(f"the arm {arm} needs user={ALWAYS}: {of_user}")
            if arm in (self.arm, *self.controls) and self.openclaw_url is not None:
                raise InvalidInput(
                    f"the arm {arm} cannot be run through a gateway: {of_gateway}; leave it out, or openclaw_url"
                )
        for training in self.trainings:
            require_trainable(self.mode, training)

    def training_of(self, arm: str) -> TrainingConfig:
        """The settings of an arm's updates."""
        return replace(self.training, objective=SFT) if arm == SFT else self.training

    @property
    def trained_controls(self) -> list[str]:
        """The controls that train adapters."""
        return [name for name in self.controls if name not in UNTRAINED]

    @property
    def adapters_at_once(self) -> int:
        """How many adapters are trained in parallel: those of the run, each with its controls."""
        return self.parallel_preferences * (1 + len(self.trained_controls))

    @property
    def trainings(self) -> list[TrainingConfig]:
        """The settings of every kind of update that the run makes."""
        return [self.training_of(arm) for arm in (self.arm, *self.controls)]

    @property
    def confidence(self) -> float:
        """The confidence of every interval, in (0, 1)."""
        return confidence_of(self.criteria)

    def resolved(self) -> "EvalConfig":
        """A copy in which nothing that changes the measurements is left to a default that depends on something."""
        base_model = self.base_model or default_base_model(self.mode)
        rate = self.training.learning_rate
        rate = default_learning_rate(base_model) if rate is None else rate
        return replace(
            self,
            base_model=base_model,
            training=replace(self.training, learning_rate=rate),
            checkpoints=self.checkpoints if self.checkpoints is not None else spread(self.num_steps),
        )


def require_plot_formats(formats: Sequence[str]) -> None:
    """`InvalidInput` unless at least one format is named, and each that is exists."""
    if not formats:
        raise InvalidInput(f"plot_formats must name at least one of {', '.join(PLOT_FORMATS)}, got []")
    for each in formats:
        one_of("plot_formats", each, PLOT_FORMATS)


def require_plot_style(style: str) -> None:
    """`InvalidInput` unless it is a style, or is called as a file with one is."""
    if style not in PLOT_STYLES and not style.endswith(".mplstyle"):
        raise InvalidInput(f"plot_style must be {SCREEN}, {PAPER} or the path of a .mplstyle file, got {style!r}")


def left_out(config: EvalConfig) -> list[str]:
    """What has to be said of the `checkpoints` that the run does not have; nothing where it has all of them."""
    beyond = [str(step) for step in config.checkpoints or [] if step >= config.num_steps]
    if not beyond:
        return []
    return [
        f"checkpoints {', '.join(beyond)} left out: with num_steps={config.num_steps} the last step is "
        f"{config.num_steps - 1}"
    ]


def confidence_of(criteria: Mapping[str, float]) -> float:
    """The confidence that `criteria` sets, or the default."""
    return criteria.get(CONFIDENCE, DEFAULT_CONFIDENCE)


def _check_criteria(criteria: Mapping[str, float]) -> None:
    """Which names there are is known once the metrics are: `claas.eval.config.catalog` checks that."""
    in_range(f"criteria.{CONFIDENCE}", confidence_of(criteria), 0.5, 0.9999)
    for name, threshold in criteria.items():
        if not is_finite(threshold):
            raise InvalidInput(f"criteria.{name} must be a finite number, got {threshold!r}")


def spread(num_steps: int, points: int = 5) -> list[int]:
    """At most `points` steps spread evenly over the run, the first and the last among them.

    >>> spread(20)
    [0, 5, 10, 14, 19]
    """
    if points >= num_steps:
        return list(range(num_steps))
    return sorted({round(i * (num_steps - 1) / (points - 1)) for i in range(points)})


def recorded_config(values: Mapping[str, Any]) -> EvalConfig:
    """The configuration that a run recorded, whichever version did.

    One that is older than control arms had none, and a user who is a bare kind and may leave had patience without end.
    One that was to be drawn in no format at all is drawn in the default's when it is drawn anew.
    """
    given = {"checkpoints" if key == _CHECKPOINTS_OF_OLD else key: value for key, value in values.items()}
    if given.get("plot_formats") == []:
        del given["plot_formats"]
    patient = {"user": {"kind": WHEN_VIOLATED, "patience": None}} if given.get("user") == WHEN_VIOLATED else {}
    return eval_config({"controls": [], **given, **patient})


def eval_config(values: Mapping[str, Any]) -> EvalConfig:
    """The configuration of `values`, as a record or a person has them; `InvalidInput` on what is wrong with them."""
    return checked(EvalConfig, values)
