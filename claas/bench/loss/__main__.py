"""`python -m claas.bench.loss [key=value ...]`: the loss of the base model and of adapters on held-out text."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from claas.bench.loss.documents import HeldOutText, digest_of
from claas.bench.loss.measure import ModelLoss, model_loss
from claas.bench.loss.metric import WINDOW
from claas.bench.settings import ApiSettings, require_models
from claas.core.checks import name_and_version
from claas.core.command_line import Command
from claas.core.concurrency import run_until_terminated
from claas.core.configuration import check_limits, setting
from claas.core.errors import ExitCode, InvalidInput
from claas.core.files import dump_json
from claas.core.output import Done
from claas.core.settings import config_root
from claas.eval.stacks.open_stack import check_stack, open_stack
from claas.eval.stacks.stack import ServedBase
from claas.results.records import AdapterVersion

_USAGE = """\
claas bench loss [key=value ...]

  claas bench loss data=notes.jsonl                               the embedded model on texts of yours
  claas bench loss data=notes.jsonl 'adapters=[eval-concise-mine@20]' store_dir=data/evals/mine/stack
  claas bench loss data=notes.jsonl claas_url=http://127.0.0.1:8080 base_model=Qwen/Qwen3-8B

A line for each model, and a JSON object with everything as the last line.

"""


@dataclass
class LossConfig(HeldOutText, ApiSettings):
    """Which models read which text."""

    adapters: list[str] = setting([], "versions of adapters beside the base model, such as eval-concise@20")
    include_base: bool = setting(True, "measure the base model, too")
    limit: int | None = setting(None, "the most documents", low=1)
    window: int = setting(WINDOW, "tokens that are read at once; a longer document is read in several windows", low=2)

    def __post_init__(self) -> None:
        check_limits(self)
        self.require_one()
        require_models(self.include_base, self.adapters)
        self.models()

    def models(self) -> list[AdapterVersion]:
        """The base model and the adapters."""
        base = ServedBase(name=self.model)
        return [base] * self.include_base + [_version(name) for name in self.adapters]


def _version(name: str) -> AdapterVersion:
    if (named := name_and_version(name)) is None:
        raise InvalidInput(f"adapters must name versions, as in adapters=[eval-concise@20], got {name!r}")
    lora_id, version = named
    return AdapterVersion(lora_id=lora_id, version=version, digest="")


COMMAND = Command("claas.bench.loss", LossConfig, config_root() / "bench", "loss", _USAGE)


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`, 3 also where a document was lost."""
    return COMMAND.ended(lambda job: run_until_terminated(_run(job.config)), arguments)


async def _run(config: LossConfig) -> Done:
    check_stack(config.stack())
    documents = config.documents(config.limit)
    async with open_stack(config.stack(), Path(config.store_dir)) as stack:
        measured: list[ModelLoss] = []
        for model in config.models():
            measured.append(await model_loss(stack, model, documents, config.window))
            print(measured[-1].line(), flush=True)
    found = {
        "data": config.source,
        "text_sha256": digest_of(documents),
        "window": config.window,
        "models": [each.as_json() for each in measured],
    }
    print(dump_json(found))
    return Done(ExitCode.RESUMABLE if any(each.lost for each in measured) else ExitCode.COMPLETE, found)


if __name__ == "__main__":
    sys.exit(main())
