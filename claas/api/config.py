"""All settings of the API, checked once, whether from the command line or from Python."""

from dataclasses import dataclass

from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput
from claas.core.settings import MODES, default_base_model

_NO_SLEEP = "leave it out, a request of feedback says whether vLLM sleeps"
_KEYS_OF_KFALLAH_CLAAS = {
    "base_model_id": "it is base_model here",
    "engine": "it is mode here, as in mode=vllm",
    "tinker_base_model": "it is base_model here",
    "lora_root": "it is store_dir here, a folder with a format of its own",
    "completion_cache_size": "it is rollout_capacity here",
    "feedback_lock_timeout_s": "it is lock_timeout_s here",
    "tinker_state_path": "leave it out, what is at Tinker is on record in store_dir",
    "storage_backend": "leave it out, mode decides it",
    "allowed_init_base_models": "leave it out, base_model is the one that is allowed",
    "vllm_base_url": "it is vllm_url here, with mode=vllm",
    "attn_implementation": "leave it out, the engine decides it",
    "feedback_drain_timeout_s": _NO_SLEEP,
    "feedback_sleep_verify_timeout_s": _NO_SLEEP,
    "feedback_min_free_vram_gb": _NO_SLEEP,
    "feedback_wake_on_failure": _NO_SLEEP,
    "hf_secret_name": "leave it out, no secret is passed on to Modal",
}


@dataclass
class ApiConfig:
    """What the API serves, where it listens, and where it keeps its data."""

    FOREIGN_KEYS = _KEYS_OF_KFALLAH_CLAAS

    mode: str = setting("local", "the engine that answers and learns", choices=MODES)
    host: str = setting("127.0.0.1", "an address other than loopback needs the environment variable CLAAS_API_KEY")
    port: int = setting(8080, "0 takes any free one", low=0, high=65535)
    base_model: str | None = setting(None, "null: the mode's default")
    check_model: bool = setting(
        True,
        "mode=local: check the engine against the model's own forward pass before serving, once for each model and "
        "version in a store; /v1/health says whether the check was skipped",
    )
    dtype: str | None = setting(
        None,
        "mode=local: the dtype of the base model's weights; null: bfloat16 on a GPU, float32 on a CPU, where bfloat16 "
        "takes half the memory and /v1/health says how far log probabilities are from those in float32",
        choices=("float32", "bfloat16"),
    )
    store_dir: str = setting("./data/store", "where adapters, recorded rollouts and receipts are kept")
    feedback_log_dir: str = setting("./data/feedback", "where each batch of feedback is logged, one file each")
    results_dir: str = setting(
        "./data/evals", "the folder whose runs the results pages show, including those in its subfolders"
    )
    edit_labels: bool = setting(
        True, "whether clients and pages may set tags and notes of runs in results_dir, and archive them"
    )
    bench_dir: str = setting("./results", "the output_dir of claas.bench whose runs /v1/bench shows")
    lock_timeout_s: float = setting(120.0, "how long an update waits for another update of its adapter", low=0.0)
    rollout_capacity: int = setting(
        10_000, "how many answers feedback can still be given on; older ones are dropped", low=1
    )
    max_body_bytes: int = setting(4 * 1024 * 1024, "the largest request body", low=1024)
    shutdown_s: float = setting(
        30.0, "seconds to wait for requests in flight when the server is told to stop", low=0.0, above=True
    )
    truncate_prompt: str | None = setting(
        None,
        "middle: a prompt that exceeds the window is cut in the middle of its longest turns; null: it is refused",
        choices=("middle",),
    )
    tinker_base_url: str | None = setting(
        None, "mode=tinker: a service with the same API; null: TINKER_BASE_URL, else Thinking Machines' own"
    )
    tinker_timeout_s: float = setting(
        180.0, "mode=tinker: seconds that each request to the service may take", low=0.0, above=True
    )
    keep_versions: str = setting(
        "all",
        "mode=tinker: last deletes old versions' checkpoints at the service, where storage costs money",
        choices=("all", "last"),
    )
    vllm_url: str | None = setting(
        None,
        "mode=vllm: a running vLLM server that can read store_dir; null: CLAAS_VLLM_URL, else one is started, and "
        "stopped at the end",
    )
    vllm_command: str | None = setting(
        None, "mode=vllm: the program that starts a server; null: CLAAS_VLLM_COMMAND, else vllm"
    )
    vllm_arguments: list[str] = setting([], "mode=vllm: more arguments for a server that is started")
    vllm_adapters: int = setting(
        4, "mode=vllm: how many versions of adapters are loaded at once; --max-loras must be one more", low=1
    )
    vllm_max_lora_rank: int = setting(32, "mode=vllm: the largest LoRA rank to reserve memory for", low=1)
    vllm_window: int | None = setting(
        None, "mode=vllm: the most tokens of prompt and answer together; null: all that the model has", low=1
    )
    vllm_timeout_s: float = setting(
        600.0, "mode=vllm: seconds that each request to the server may take", low=0.0, above=True
    )
    vllm_start_s: float = setting(600.0, "mode=vllm: seconds that a server may take to start", low=0.0, above=True)
    modal_app: str | None = setting(None, "mode=modal: the deployed app; null: CLAAS_MODAL_APP, else claas")
    modal_timeout_s: float = setting(
        900.0, "mode=modal: seconds that each call may take, including the start of a stopped app", low=0.0, above=True
    )

    def __post_init__(self) -> None:
        check_limits(self)
        for name in ("host", "store_dir", "feedback_log_dir", "results_dir", "bench_dir"):
            if not getattr(self, name):
                raise InvalidInput(f"{name} must not be empty, got ''")
        if self.base_model == "":
            raise InvalidInput("base_model must name a model or be null, got ''")
        if self.modal_app == "":
            raise InvalidInput("modal_app must name an app or be null, got ''")
        if self.vllm_url is not None and not self.vllm_url.startswith(("http://", "https://")):
            raise InvalidInput(f"vllm_url must be an address such as http://127.0.0.1:8000, got {self.vllm_url!r}")

    @property
    def base_model_name(self) -> str:
        """The base model that is served: the one named, else the mode's default."""
        return self.base_model or default_base_model(self.mode)
