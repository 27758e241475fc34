"""`python -m claas.bench.convert source=...`: a checkpoint as a Hugging Face folder, once, and checked."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from claas.bench.convert.folder import alone, converted
from claas.bench.convert.sources import require_local, source_of
from claas.core.command_line import Command, Job
from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput
from claas.core.files import staged
from claas.core.output import Done
from claas.core.settings import config_root

_USAGE = """\
claas bench convert source=PATH [key=value ...]

  claas bench convert source=checkpoints/step_1000 config=Qwen/Qwen3-0.6B   a torch distributed checkpoint
  claas bench convert source=./peft-folder                                  an adapter, merged into its base
  claas bench convert source=eval-concise-mine@20 store_dir=data/evals/mine/stack
  claas bench convert source=model-Q8_0.gguf

The folder's path is the last line. The same command again finds it there.
"""


@dataclass
class ConvertConfig:
    """What `python -m claas.bench.convert` is asked."""

    source: str = setting(
        "", "a torch distributed checkpoint, a PEFT folder, a .gguf file, or a version in store_dir: eval-concise@20"
    )
    config: str | None = setting(
        None,
        "folder or hub id with the config.json and tokenizer of a checkpoint, or an adapter's base model; null: beside "
        "the source, or as the adapter says",
    )
    output: str | None = setting(None, "the folder to make; null: one in data/converted, named by source and digest")
    dtype: str | None = setting(
        None,
        "of the weights; null: as in a checkpoint, float32 of a merged adapter and of a .gguf file",
        choices=("float32", "bfloat16", "float16"),
    )
    rotary: str | None = setting(
        None,
        "which dimensions of a head the trainer rotates together: its two halves, as transformers does, or neighbours "
        "in pairs, as Meta's own code does; asked for where its names are not those of transformers",
        choices=("halves", "pairs"),
    )
    store_dir: str = setting("./data/store", "where adapters are that are named by their version")

    def __post_init__(self) -> None:
        check_limits(self)


COMMAND = Command("claas.bench.convert", ConvertConfig, config_root() / "bench", "convert", _USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    return COMMAND.ended(_run, arguments)


def _run(job: Job[ConvertConfig]) -> Done:
    folder = convert(job.config, job.voice.progress(COMMAND.module))
    print(folder)
    return Done(result={"folder": str(folder)})


def convert(config: ConvertConfig, tell: Callable[[str], None]) -> Path:
    """The converted folder: made now, or found as it was made from the same source."""
    if not config.source:
        raise InvalidInput("give source=PATH, what to convert")
    source = source_of(config.source, config.config, Path(config.store_dir).expanduser())
    digest = source.digest(dtype=config.dtype, rotary=config.rotary)
    named = source.path.stem if source.path.is_file() else config.source.strip("/").rpartition("/")[2]
    folder = Path(config.output or f"data/converted/{named}-{digest[:12]}").expanduser()
    with alone(folder):
        if (mark := converted(folder, digest)) is not None:
            tell(f"{folder} is there already: {mark.kind} {mark.source}, converted {mark.created}")
            return folder
        require_local()
        os.environ.setdefault("TQDM_DISABLE", "1")
        from claas.bench.convert.weights import write_converted

        with staged(folder) as stage:
            mark = write_converted(source, stage, config.dtype, config.rotary, digest)
    tell(
        f"{mark.kind} {mark.source} in {mark.dtype}: of {mark.tokens} tokens, log probabilities differ by "
        f"{mark.max_difference:.1e} nats at most"
        + ("" if mark.rounding is None else f"; rounding to {mark.dtype} moved them by up to {mark.rounding:.1e}")
    )
    return folder


if __name__ == "__main__":
    sys.exit(main())
