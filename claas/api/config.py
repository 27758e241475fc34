"""Every setting of the API, checked once, the same from Hydra and from Python."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from claas.core.checks import in_range, one_of
from claas.core.errors import InvalidInput
from claas.core.settings import default_base_model


@dataclass
class ApiConfig:
    """What to serve, where, and where it is kept.

    `mode`: which engine answers and learns. `base_model`: None means the mode's default. `host`: an address other
    than loopback needs the environment variable CLAAS_API_KEY. `port`: 0 takes any free one. `store_dir`: adapters,
    recorded rollouts and receipts. `feedback_log_dir`: one file per batch of feedback. `results_dir`: whose runs the
    results browser shows, those in its folders included, and no others. `lock_timeout_s`: how long an update waits for
    another update of its adapter. `rollout_capacity`: how many answers feedback can still be given on; older ones are
    dropped. `max_body_bytes`: bound of a request's body. `truncate_prompt`: `middle` drops text from the middle of a
    chat's longest turns where it does not fit the model's window; None refuses such a prompt.
    With mode=tinker: `tinker_base_url` is a service with the same API; None means what TINKER_BASE_URL says, else
    Thinking Machines' own. `tinker_timeout_s` bounds each request to it. `keep_versions`: `all` keeps every version's
    checkpoints there, `last` the newest version's and those of the one before it.
    With mode=modal: `modal_app` is the app that was deployed; None means what CLAAS_MODAL_APP says, else `claas`.
    `modal_timeout_s` bounds each call to it, the start of a stopped app included.
    """

    mode: str = "local"
    host: str = "127.0.0.1"
    port: int = 8080
    base_model: str | None = None
    store_dir: str = "./data/store"
    feedback_log_dir: str = "./data/feedback"
    results_dir: str = "./data/evals"
    lock_timeout_s: float = 120.0
    rollout_capacity: int = 10_000
    max_body_bytes: int = 4 * 1024 * 1024
    truncate_prompt: str | None = None
    tinker_base_url: str | None = None
    tinker_timeout_s: float = 180.0
    keep_versions: str = "all"
    modal_app: str | None = None
    modal_timeout_s: float = 900.0

    def __post_init__(self) -> None:
        default_base_model(self.mode)
        for name in ("host", "store_dir", "feedback_log_dir", "results_dir"):
            if not getattr(self, name):
                raise InvalidInput(f"{name} must not be empty, got ''")
        if self.base_model == "":
            raise InvalidInput("base_model must name a model or be null, got ''")
        if self.truncate_prompt is not None:
            one_of("truncate_prompt", self.truncate_prompt, ("middle",))
        one_of("keep_versions", self.keep_versions, ("all", "last"))
        in_range("tinker_timeout_s", self.tinker_timeout_s, 0.0, above=True)
        if self.modal_app == "":
            raise InvalidInput("modal_app must name an app or be null, got ''")
        in_range("modal_timeout_s", self.modal_timeout_s, 0.0, above=True)
        in_range("port", self.port, 0, 65535)
        in_range("lock_timeout_s", self.lock_timeout_s, 0.0)
        in_range("rollout_capacity", self.rollout_capacity, 1)
        in_range("max_body_bytes", self.max_body_bytes, 1024)

    @property
    def base_model_name(self) -> str:
        """The base model that is served: the one named, else the mode's default."""
        return self.base_model or default_base_model(self.mode)


def register_schema() -> None:
    """Let Hydra's configs build on `ApiConfig` under the name `api`: its types, its defaults, no unknown key."""
    ConfigStore.instance().store(name="api", node=ApiConfig)


def typed(config: DictConfig) -> ApiConfig:
    """What Hydra composed, checked; the user's mistakes are raised as `InvalidInput`."""
    try:
        settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ApiConfig), OmegaConf.to_container(config)))
    except OmegaConfBaseException as error:
        raise InvalidInput(str(error).splitlines()[0]) from error
    assert isinstance(settings, ApiConfig)
    return settings
