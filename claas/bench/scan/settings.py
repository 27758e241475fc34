"""The settings of `python -m claas.bench.scan`."""

from dataclasses import dataclass

from claas.bench.loss.documents import HeldOutText
from claas.bench.loss.metric import WINDOW
from claas.bench.settings import WIRE, BenchConfig, require_models
from claas.core.checks import adapter_id
from claas.core.configuration import setting
from claas.core.errors import InvalidInput
from claas.results.settings import PLOT_FORMATS, PNG, SCREEN, require_plot_formats, require_plot_style


@dataclass
class ScanConfig(HeldOutText, BenchConfig):
    """Which checkpoints to measure, by what, and by which rule one of them is the best."""

    adapter: str | None = setting(None, "an adapter whose versions are scanned, such as eval-concise")
    versions: list[int] = setting([], "numbers of that adapter's versions; empty: all of them")
    every: int = setting(1, "of all versions only every so many-th, and the newest", low=1)
    checkpoints: str | None = setting(
        None, "a folder of checkpoints: Hugging Face or PEFT folders, torch distributed checkpoints, .gguf files"
    )
    config: str | None = setting(
        None,
        "folder or hub id with the config.json and tokenizer of checkpoints that have none; see claas.bench.convert",
    )
    rotary: str | None = setting(None, "as in claas.bench.convert", choices=("halves", "pairs"))
    loss: bool = setting(False, "measure the loss on held-out text, too; alone where neither suite nor tasks is given")
    most_documents: int | None = setting(None, "the most documents of the held-out text", low=1)
    loss_window: int = setting(WINDOW, "tokens of held-out text that are read at once", low=2)
    best: str | None = setting(
        None,
        "what the best is the best by: task/metric, eval_loss or mean, which is over all tasks; null: mean, else loss",
    )
    confidence: float = setting(0.95, "of the intervals, and of what is within noise", low=0.5, high=0.9999)
    plot_formats: list[str] = setting([PNG], f"of the plot: any of {', '.join(PLOT_FORMATS)}")
    plot_style: str = setting(SCREEN, "of the plot: screen, paper or the path of a .mplstyle file")
    output_dir: str = setting("./results/scan", "scan.json, scan.csv and scan.png, and what claas.bench writes")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_one()
        require_plot_formats(self.plot_formats)
        require_plot_style(self.plot_style)
        if self.backend != WIRE:
            raise InvalidInput(f"a scan asks by backend={WIRE}, so that a base model is loaded once: leave backend out")
        if self.adapter is not None:
            adapter_id(self.adapter)
        if self.adapter is None and (self.versions or self.every != 1):
            raise InvalidInput("versions and every are of an adapter: set adapter, as in adapter=eval-concise")
        if self.versions and (self.every != 1 or min(self.versions) < 1 or len({*self.versions}) < len(self.versions)):
            raise InvalidInput(
                f"versions must be distinct numbers above 0, and go without every, got {self.versions}; version 0 is "
                "the base model"
            )

    def require_models(self) -> None:
        """Require something to scan."""
        scanned = self.adapter is not None or self.checkpoints is not None
        require_models(self.include_base or scanned, self.adapters)

    @property
    def reads_text(self) -> bool:
        """Whether the loss is measured."""
        return self.loss or self.data is not None or self.hf_dataset_name is not None

    @property
    def asks_tasks(self) -> bool:
        """Whether benchmarks are run."""
        return self.suite is not None or bool(self.tasks) or not self.reads_text
