"""The configuration of a run, checked once, the same from Hydra, from Python and from a record."""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError

from claas.core.checks import adapter_id, alias_name, in_range, one_of
from claas.core.errors import InvalidInput
from claas.core.settings import DEFAULT_ALIAS, TrainingConfig, default_base_model, default_learning_rate

PARAPHRASE = "paraphrase"
"""The `feedback_variation` in which the user does not always say the same words."""


@dataclass
class Criteria:
    """Thresholds of the verdict; each is judged from a confidence interval at `confidence`.

    `heldout_compliance`: held-out compliance is at least this. `margin_gain`: the logprob margin gains more than this
    many nats. `capability_retention`: capability stays above this fraction of baseline. `entropy_ratio`: mean entropy
    stays above this fraction of baseline. `self_rouge_l`: similarity of resampled answers stays below this.
    `mean_logprob_drift`: the mean logprob moves by less than this many nats.
    """

    heldout_compliance: float = 0.8
    margin_gain: float = 2.0
    capability_retention: float = 0.9
    entropy_ratio: float = 0.6
    self_rouge_l: float = 0.85
    mean_logprob_drift: float = 2.0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        in_range("criteria.heldout_compliance", self.heldout_compliance, 0.0, 1.0)
        in_range("criteria.margin_gain", self.margin_gain, -1e6)
        in_range("criteria.capability_retention", self.capability_retention, 0.0, 1.0)
        in_range("criteria.entropy_ratio", self.entropy_ratio, 0.0)
        in_range("criteria.self_rouge_l", self.self_rouge_l, 0.0, 1.0)
        in_range("criteria.mean_logprob_drift", self.mean_logprob_drift, 0.0)
        in_range("criteria.confidence", self.confidence, 0.5, 0.9999)


@dataclass
class Prices:
    """Per million tokens, in any one currency: of answers sampled, of tokens read, of tokens trained on."""

    sample: float = 0.0
    prefill: float = 0.0
    train: float = 0.0

    def __post_init__(self) -> None:
        in_range("prices.sample", self.sample, 0.0)
        in_range("prices.prefill", self.prefill, 0.0)
        in_range("prices.train", self.train, 0.0)


@dataclass
class EvalConfig:
    """What to run. A value of None is resolved by `resolved()`; what a run records is always the resolved value.

    `mode`: local | tinker | modal, which API to host when `claas_url` is None. `claas_url`: a live CLaaS API.
    `base_model`: None means the mode's default. `preferences`: names, or paths of YAML files. `metrics`: names or
    presets (`all`, `quick`). `batch_size`: answers sampled, and trained on, per step. `feedback_variation`: what is
    said of them, `none` (always the preference's `feedback_string`) or `paraphrase` (that or one of its
    `feedback_paraphrases`, another one at each step, in an order that `seed` decides). `collapse_steps`: steps, counted
    from 0, at which the metrics collapse and scope are due; None means five spread evenly, the last among them.
    `plots`: whether the run ends with its pictures and its report.html. `seed` decides every sampling seed and
    prompt order. `lora_id_prefix`: adapters are called `{lora_id_prefix}/{preference}-{run id}`. `output_dir`: None
    means `data/evals/<UTC time>`; an existing one is continued. `openclaw_url`: chat goes through this gateway,
    which the environment variable OPENCLAW_GATEWAY_TOKEN opens. `openclaw_alias`: the model that it asks
    `claas_url` for. `max_concurrency`: requests in flight.
    `parallel_preferences`: preferences run side by side. `temperature`: of the answers that feedback is given on.
    `max_tokens`: bound of every sampled answer. `fail_on_error`: True ends a preference at its first lost answer, False
    never, a fraction when more than that share of a step's planned measurements is lost. `fail_on_verdict`: exit 4
    unless the verdict is pass. `config_dir`: a folder of the user's whose `preference/*.yaml`, `capability/*.yaml` and
    `metrics.yaml` add to the shipped ones. `prices`: what tokens cost, for an estimate in the summary.
    """

    mode: str = "local"
    claas_url: str | None = None
    base_model: str | None = None
    preferences: list[str] = field(default_factory=lambda: ["concise", "no_emoji", "identity"])
    metrics: list[str] = field(default_factory=lambda: ["all"])
    num_steps: int = 20
    batch_size: int = 4
    feedback_variation: str = "none"
    collapse_steps: list[int] | None = None
    plots: bool = True
    seed: int = 42
    lora_id_prefix: str = "eval"
    output_dir: str | None = None
    openclaw_url: str | None = None
    openclaw_alias: str = DEFAULT_ALIAS
    training: TrainingConfig = field(default_factory=TrainingConfig)
    criteria: Criteria = field(default_factory=Criteria)
    max_concurrency: int = 128
    parallel_preferences: int = 1
    temperature: float = 0.7
    max_tokens: int = 400
    fail_on_error: bool | float = 0.1
    fail_on_verdict: bool = False
    config_dir: str | None = None
    prices: Prices | None = None

    def __post_init__(self) -> None:
        default_base_model(self.mode)
        if not self.preferences:
            raise InvalidInput("preferences must name at least one preference, got []")
        if not self.metrics:
            raise InvalidInput("metrics must name at least one metric or preset, got []")
        if len(set(self.preferences)) != len(self.preferences):
            raise InvalidInput(f"preferences must be distinct, got {self.preferences}")
        in_range("num_steps", self.num_steps, 1)
        in_range("batch_size", self.batch_size, 1, 64)
        one_of("feedback_variation", self.feedback_variation, ("none", PARAPHRASE))
        in_range("max_concurrency", self.max_concurrency, 1)
        in_range("parallel_preferences", self.parallel_preferences, 1)
        in_range("temperature", self.temperature, 0.0, 2.0)
        in_range("max_tokens", self.max_tokens, 1)
        in_range("fail_on_error", float(self.fail_on_error), 0.0, 1.0)
        adapter_id(self.lora_id_prefix)
        alias_name(self.openclaw_alias)
        if self.mode == "tinker":
            self.training.require_policy_gradient()
        for step in self.collapse_steps or []:
            if not 0 <= step < self.num_steps:
                raise InvalidInput(
                    f"collapse_steps: step {step} is outside the run's steps 0..{self.num_steps - 1}; "
                    "leave it out or raise num_steps"
                )

    def resolved(self) -> "EvalConfig":
        """A copy in which nothing that changes the measurements is left to a default that depends on something."""
        base_model = self.base_model or default_base_model(self.mode)
        rate = self.training.learning_rate
        rate = default_learning_rate(base_model) if rate is None else rate
        return replace(
            self,
            base_model=base_model,
            training=replace(self.training, learning_rate=rate),
            collapse_steps=self.collapse_steps if self.collapse_steps is not None else spread(self.num_steps),
        )


def spread(num_steps: int, points: int = 5) -> list[int]:
    """At most `points` steps spread evenly over the run, the first and the last among them.

    >>> spread(20)
    [0, 5, 10, 14, 19]
    """
    if points >= num_steps:
        return list(range(num_steps))
    return sorted({round(i * (num_steps - 1) / (points - 1)) for i in range(points)})


_SECTIONS: dict[str, type] = {"training": TrainingConfig, "criteria": Criteria}
_LISTS = ("preferences", "metrics")
_ADAPTER = TypeAdapter(EvalConfig)


def eval_config(values: Mapping[str, Any]) -> EvalConfig:
    """The configuration of `values`; `InvalidInput` names the key that is unknown, or whose value is wrong.

    One preference or metric may be given as a bare name.
    """
    known = known_keys()
    for key in _flat_keys(values):
        if key not in known:
            raise unknown_key(key)
    given = {key: [value] if key in _LISTS and isinstance(value, str) else value for key, value in values.items()}
    try:
        # JSON is where pydantic's strict mode takes a mapping for a dataclass and still no text for a number.
        return _ADAPTER.validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise _first_problem(error) from None


def known_keys() -> list[str]:
    """Every key, those of the sections dotted."""
    top = [each.name for each in fields(EvalConfig)]
    return top + [f"{section}.{each.name}" for section, kind in _SECTIONS.items() for each in fields(kind)]


def unknown_key(key: str) -> InvalidInput:
    """The error for a key that does not exist, with those of its section that look like it, else all of them."""
    known = known_keys()
    section, _, last = key.rpartition(".")
    beside = [name for name in known if name.rpartition(".")[0] == section] or known
    parts = {name.rpartition(".")[2]: name for name in (beside if section else reversed(known))}
    close = [parts[name] for name in difflib.get_close_matches(last, parts, n=2)]
    return InvalidInput(
        f"unknown key {key!r}; " + (f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(beside)}")
    )


def _flat_keys(values: Mapping[str, Any]) -> Iterable[str]:
    for key, value in values.items():
        yield key
        if key in _SECTIONS and isinstance(value, dict):
            yield from (f"{key}.{inner}" for inner in cast(dict[str, Any], value))


def _first_problem(error: ValidationError) -> InvalidInput:
    problem = error.errors(include_url=False)[0]
    cause = problem.get("ctx", {}).get("error")
    if isinstance(cause, InvalidInput):
        return cause
    where = ".".join(str(part) for part in problem["loc"] if not (isinstance(part, str) and part in ("bool", "float")))
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return InvalidInput(f"{where}: {message}, got {problem['input']!r}")
