"""The settings of `python -m claas.bench`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claas.core.checks import alias_name
from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput
from claas.core.settings import MODES, default_base_model
from claas.results.settings import EvalConfig

WIRE = "wire"
"""The one backend: every item is asked over the API's own wire, whatever engine is behind it."""


@dataclass
class ApiSettings:
    """The API that is asked, or hosted to be asked."""

    mode: str = setting("local", "which API to host when claas_url is null", choices=MODES)
    claas_url: str | None = setting(
        None, "a running CLaaS API, such as http://127.0.0.1:8080; null hosts one in this process"
    )
    base_model: str | None = setting(None, "a name, or the folder of a checkpoint; null: the mode's default")
    store_dir: str = setting("./data/store", "where an API in this process finds its adapters, such as <run>/stack")
    max_concurrency: int = setting(128, "requests in flight", low=1)
    request_timeout_s: float = setting(
        600.0, "seconds that a request to claas_url may take before it is sent again", low=0.0, above=True
    )
    retry_for_s: float = setting(120.0, "seconds for which a request that fails is sent again", low=0.0)

    @property
    def model(self) -> str:
        """The base model's name."""
        return self.base_model or default_base_model(self.mode)

    def stack(self) -> EvalConfig:
        """How the API is reached, or hosted."""
        return EvalConfig(
            mode=self.mode,
            claas_url=self.claas_url,
            base_model=self.model,
            max_concurrency=self.max_concurrency,
            request_timeout_s=self.request_timeout_s,
            retry_for_s=self.retry_for_s,
        ).resolved()


@dataclass
class BenchConfig(ApiSettings):
    """Which models to run on which benchmarks, and where the results go."""

    suite: str | None = setting(
        None,
        "a suite whose shots and limits are fixed, or a group of tasks: see --list-tasks; null: tasks, else standard",
    )
    tasks: list[str] = setting([], "groups and lm-eval's names, in place of a suite")
    adapters: list[str] = setting([], "adapters beside the base model, such as eval-concise@20")
    include_base: bool = setting(True, "run the base model, too")
    tokenizer: str | None = setting(None, "a folder or a hub id; null: that of the base model")
    window: int | None = setting(None, "tokens that the model can read; null: as the API says", low=2)
    apply_chat_template: bool | None = setting(None, "ask as in a chat; null: where the tokenizer has a template")
    limit: int | None = setting(None, "the most items of each task, those of a group counted one by one", low=1)
    num_fewshot: int | None = setting(None, "worked examples before each question; null: the task's own number", low=0)
    datasets_dir: str | None = setting(
        None, "a folder with <owner>/<name> for each data set, as hf download makes it, read in place of the hub's"
    )
    output_dir: str = setting("./results", "metrics.json and a folder for each run")
    name: str | None = setting(None, "of the run; null: the model's; with several models, each model's follows it")
    method: str = setting("", "what was done to the model, for the record")
    log_samples: bool = setting(True, "write every item with its answer")
    resume: bool = setting(True, "ask nothing again that a run of this name was answered by the same weights")
    parallel_models: int = setting(4, "models asked at the same time", low=1)

    def __post_init__(self) -> None:
        check_limits(self)
        if self.suite is not None and self.tasks:
            raise InvalidInput(f"give suite={self.suite} or tasks, not both: name the suite's tasks among tasks")
        require_models(self.include_base, self.adapters)
        if self.name is not None:
            alias_name(self.name)
        if self.datasets_folder is not None and not self.datasets_folder.is_dir():
            raise InvalidInput(f"datasets_dir: the folder {self.datasets_dir!r} not found")

    @property
    def output_folder(self) -> Path:
        """Where the results go."""
        return Path(self.output_dir).expanduser()

    @property
    def datasets_folder(self) -> Path | None:
        """Where data sets are read in place of the hub's."""
        return None if self.datasets_dir is None else Path(self.datasets_dir).expanduser()


def require_models(include_base: bool, adapters: Sequence[str]) -> None:
    """Require a model at least, and each of them once."""
    if len(set(adapters)) != len(adapters):
        raise InvalidInput(f"adapters must be distinct, got {adapters}")
    if not include_base and not adapters:
        raise InvalidInput("include_base=false leaves no model: name adapters, as in adapters=[eval-concise@20]")
