"""The settings of `python -m claas.bench`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from claas.bench.catalogue import STANDARD, catalogue, require_suite_or_tasks
from claas.core.checks import alias_name, is_finite
from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput
from claas.core.settings import MODES, default_base_model
from claas.results.settings import EvalConfig

WIRE, HF, VLLM, MLX = "wire", "hf", "vllm", "mlx"
"""How models are asked: over the API's own wire, whatever engine is behind it, or by a model of lm-eval's own."""

_SEEDS = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
_GENERATION = ("until", "max_gen_toks", "do_sample", "temperature")
_NOT_OF_MLX = ("adapters", "window", "tokenizer")
_OF_BACKENDS = {"dtype": (HF, VLLM), "device": (HF,), "batch_size": (HF, VLLM)}


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
    adapters: list[str] = setting(
        [], "adapters beside the base model: eval-concise@20, the folder of one in PEFT's format, or the hub id of one"
    )
    include_base: bool = setting(True, "run the base model, too")
    backend: str = setting(
        WIRE, "who asks: wire, the API; or a model of lm-eval's own, loaded here", choices=(WIRE, HF, VLLM, MLX)
    )
    dtype: str = setting(
        "auto", "backend=hf and vllm: of the weights", choices=("auto", "float32", "bfloat16", "float16")
    )
    device: str | None = setting(None, "backend=hf: such as cuda:1; null: a GPU where there is one")
    batch_size: int | None = setting(
        None, "backend=hf and vllm: questions at a time; null: 16 with hf, what vllm chooses", low=1
    )
    tokenizer: str | None = setting(
        None, "a folder or a hub id; null: the adapter's own where it brings one with a chat template, else the base's"
    )
    window: int | None = setting(None, "tokens that the model can read; null: as the API says", low=2)
    apply_chat_template: bool | None = setting(None, "ask as in a chat; null: where the tokenizer has a template")
    limit: int | None = setting(None, "the most items of each task, those of a group counted one by one", low=1)
    num_fewshot: int | None = setting(None, "worked examples before each question; null: the task's own number", low=0)
    fewshot_as_multiturn: bool | None = setting(
        None, "worked examples as earlier turns of the chat; null: where it is asked as in a chat"
    )
    system_instruction: str | None = setting(None, "what stands before every question, in a chat as its system turn")
    gen_kwargs: dict[str, Any] = setting(
        {}, "of answers, in place of a task's own: until, max_gen_toks; answers are greedy"
    )
    seed: int | None = setting(None, "decides which worked examples are drawn; null: lm-eval's own", low=0)
    include_path: str | None = setting(None, "a folder with task files of yours, whose tasks can then be named")
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
        require_suite_or_tasks(self.suite, self.tasks)
        self.require_models()
        if self.name is not None:
            alias_name(self.name)
        for name, folder in (("datasets_dir", self.datasets_folder), ("include_path", self.include_folder)):
            if folder is not None and not folder.is_dir():
                raise InvalidInput(f"{name}: the folder {getattr(self, name)!r} not found")
        self._require_backend()
        _require_greedy(self.gen_kwargs)
        if self.fewshot_as_multiturn and self.apply_chat_template is False:
            raise InvalidInput("fewshot_as_multiturn=true needs a chat: leave out apply_chat_template=false")
        suite = self.suite or (None if self.tasks else STANDARD)
        if suite in catalogue().suites and (changed := sorted(self.asked | self._of_tasks())):
            raise InvalidInput(f"suite={suite} is the same for all: {changed[0]} can be set with tasks only")

    def _require_backend(self) -> None:
        """Refuse what the backend would ignore."""
        for name, backends in _OF_BACKENDS.items():
            if getattr(self, name) not in (None, "auto") and self.backend not in backends:
                raise InvalidInput(f"{name} is of backend={' and '.join(backends)}; leave it out with {self.backend}")
        if self.backend == MLX and (ignored := [each for each in _NOT_OF_MLX if getattr(self, each)]):
            mend = "; merge it into its base model (mlx_lm.fuse) and give that as base_model" if self.adapters else ""
            raise InvalidInput(f"backend=mlx takes no {ignored[0]}{mend}")

    def _of_tasks(self) -> dict[str, Any]:
        given = {"fewshot_as_multiturn": self.fewshot_as_multiturn, "include_path": self.include_path}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def asked(self) -> dict[str, Any]:
        """What is asked otherwise than the tasks say."""
        given = {"system_instruction": self.system_instruction, "gen_kwargs": self.gen_kwargs, "seed": self.seed}
        return {name: value for name, value in given.items() if value not in (None, "", {})}

    def lm_eval_settings(self) -> dict[str, Any]:
        """`asked` as lm-eval calls it."""
        seeds = {} if self.seed is None else dict.fromkeys(_SEEDS, self.seed)
        return {name: value for name, value in self.asked.items() if name != "seed"} | seeds

    @property
    def read_with(self) -> str:
        """The name of the tokenizer, but of adapters that bring their own."""
        return self.tokenizer or self.model

    @property
    def include_folder(self) -> Path | None:
        """Where there are task files of the user's."""
        return None if self.include_path is None else Path(self.include_path).expanduser()

    def require_models(self) -> None:
        """Require a model at least, and each of them once."""
        require_models(self.include_base, self.adapters)

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


def _require_greedy(gen_kwargs: Mapping[str, Any]) -> None:
    for name, value in gen_kwargs.items():
        if name not in _GENERATION:
            raise InvalidInput(f"gen_kwargs: unknown {name!r}; known: {', '.join(_GENERATION)}")
        if name in ("do_sample", "temperature") and value not in (False, 0):
            raise InvalidInput(f"gen_kwargs: {name}={value} draws answers at random; only greedy ones are asked for")
    longest, until = gen_kwargs.get("max_gen_toks", 1), cast(object, gen_kwargs.get("until", []))
    if not is_finite(longest) or longest != int(longest) or longest < 1:
        raise InvalidInput(f"gen_kwargs: max_gen_toks must be a whole number above 0, got {longest!r}")
    texts = cast(list[object], until) if isinstance(until, list) else [until]
    if not all(isinstance(each, str) for each in texts):
        raise InvalidInput(f"gen_kwargs: until must be a text or texts, got {until!r}")
