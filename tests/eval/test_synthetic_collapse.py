"""The alarms on the real small model: an adapter that repeats one token sets off all three, healthy training none."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from claas.core.settings import EMBEDDED, TrainingConfig
from claas.eval.config.catalog import load_preference
from claas.eval.metrics.collapse import Collapse
from claas.eval.metrics.metric import Subject
from claas.eval.runner import run_harness
from claas.eval.stacks.open_stack import open_stack
from claas.results.records import AdapterVersion
from claas.results.settings import EvalConfig
from tests.eval.metrics.subjects import baseline_of
from tests.eval.recomputing import require_recomputable

torch = pytest.importorskip("torch")

LORA_ID = "eval/stuck"
PREFERENCE = load_preference("concise")
TAUGHT_ON = ("Who are you?", "What is 2 plus 3?", "Write a poem about the sea.", "hi")
REPEATED = " the"


def test_repeating_one_token_sets_off_every_alarm(tmp_path: Path) -> None:
    found, texts = asyncio.run(collapse_of_the_repeating_adapter(tmp_path / "store"))
    assert {word for text in texts for word in text.split()} == {REPEATED.strip()}
    assert found["entropy_ratio_to_baseline"] < 0.1
    assert found["self_rouge_l"] > 0.95
    assert found["mean_logprob_drift"] > 4.0
    assert found["alert"] == 1.0


def test_healthy_training_sets_off_none(tmp_path: Path) -> None:
    (tmp_path / "metrics.yaml").write_text("metrics: {collapse: {max_prompts: 3}}")
    config = EvalConfig(
        preferences=["concise"],
        metrics=["collapse", "drift"],
        num_steps=2,
        max_tokens=40,
        checkpoints=[1],
        plots=False,
        output_dir=str(tmp_path / "run"),
        config_dir=str(tmp_path),
    )
    history = asyncio.run(run_harness(config)).preferences["concise"]
    assert history.curve("collapse.alert") == {0: 0.0, 2: 0.0}
    assert history.curve("collapse.entropy_is_lower_bound") == {0: 0.0, 2: 0.0}
    assert max(history.curve("collapse.mean_logprob_drift").values()) > 0.01, "nothing was learned"
    for key in ("drift.kl_k1", "drift.kl_k3", "drift.off_task_kl_k1", "drift.off_task_kl_k3"):
        assert list(history.curve(key)) == [0, 1, 2]
        assert history.curve(key)[0] == 0.0
    require_recomputable(tmp_path / "run")


@pytest.mark.faults
def test_a_model_trained_until_it_babbles_sets_off_an_alarm(tmp_path: Path) -> None:
    config = EvalConfig(
        preferences=["concise"],
        metrics=["collapse"],
        num_steps=20,
        checkpoints=[19],
        training=TrainingConfig(learning_rate=1e-2),
        plots=False,
        output_dir=str(tmp_path / "run"),
    )
    history = asyncio.run(run_harness(config)).preferences["concise"]
    assert history.curve("collapse.alert")[20] == 1.0
    assert history.curve("collapse.mean_logprob_drift")[20] > 2.0


async def collapse_of_the_repeating_adapter(store_dir: Path) -> tuple[dict[str, float], list[str]]:
    """The collapse values of version 1 against version 0, and what version 1 said."""
    adapters = await store_with_repeating_adapter(store_dir)
    collapse = Collapse(max_prompts=3)
    async with open_stack(EvalConfig().resolved(), store_dir) as stack:
        at_baseline = Subject(stack, adapters[0], PREFERENCE, None, None, run_seed=1, max_tokens=40)
        baseline = baseline_of(await collapse.measure(at_baseline), at_baseline)
        found = await collapse.measure(replace(at_baseline, adapter=adapters[1], step=0, baseline=baseline))
    values = found.values["collapse"]
    assert isinstance(values, dict)
    return values, [rollout.response for rollout in found.rollouts if rollout.temperature is not None]


async def store_with_repeating_adapter(root: Path) -> tuple[AdapterVersion, AdapterVersion]:
    """Version 0, and version 1, which answers whatever it is asked with one token for ever."""
    from claas.engines.local.learner import LocalLearner
    from claas.engines.local.lora import to_bytes
    from claas.engines.local.model import LoadedModel
    from claas.engines.local.versions import LocalStore
    from claas.engines.store import ADAPTER_WEIGHTS
    from claas.engines.types import AdapterSpec

    base, store = LoadedModel.load(EMBEDDED), LocalStore(root / "adapters")
    learner = LocalLearner(base, store)
    await learner.init(AdapterSpec(LORA_ID))
    learner.close()
    untrained = store.get(LORA_ID)
    with store.staging(LORA_ID) as staging:
        digest = staging.write(ADAPTER_WEIGHTS, to_bytes(taught_to_repeat(base, untrained)))
        store.commit(untrained.model_copy(update={"version": 1, "digest": digest}))
    versions = [record.weights for record in store.versions(LORA_ID)]
    first, second = (AdapterVersion(lora_id=LORA_ID, version=found.version, digest=found.digest) for found in versions)
    return first, second


def taught_to_repeat(base: Any, untrained: Any) -> dict[str, Any]:
    """An adapter's tensors after supervised training on prompts that are answered with one token, again and again."""
    from claas.engines.local.lora import LoraShape, wrap

    model = wrap(base, LoraShape(untrained.rank, untrained.alpha, untrained.target_modules))
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=5e-3)
    token, _ = base.chat.completion_ids(REPEATED)
    for _ in range(6):
        for prompt in TAUGHT_ON:
            asked = base.chat.prompt_ids([{"role": "user", "content": prompt}])
            logits = model(torch.tensor([asked + [token] * 24])).logits[0, len(asked) - 1 :]  # (25, V)
            loss = torch.nn.functional.cross_entropy(logits, torch.full((len(logits),), token))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {
        name.replace(".default.weight", ".weight"): parameter.detach().contiguous()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
