"""One update of a small random PEFT model, watched from outside."""

from collections.abc import Callable
from math import isfinite

import pytest
import torch
from peft.peft_model import PeftModel
from torch import Tensor

from claas.core.errors import InvalidInput, StackError
from claas.core.settings import TrainingConfig
from claas.training.batch import align, response_logits
from claas.training.example import TrainingExample
from claas.training.sdpo import sdpo_loss, teacher_target, token_logprobs
from claas.training.update import (
    load_optimizer_tensors,
    new_optimizer,
    optimizer_tensors,
    run_update,
    trainable_parameters,
)

KEYS = {
    "total_loss",
    "distill_loss",
    "distill_loss_first",
    "distill_loss_last",
    "kl_reg",
    "mean_is_ratio",
    "clip_fraction",
    "grad_norm",
    "tokens_processed",
    "batch_size",
    "steps_per_batch_applied",
}
TOKENS = [((1, 2, 3), (4, 5)), ((6,), (7, 8, 9, 10)), ((11, 12, 13, 14), (15, 16, 17))]


def items_for(model: PeftModel) -> list[TrainingExample]:
    """Responses with the logprobs the model itself gives them, and feedback put in front for the teacher."""
    made: list[TrainingExample] = []
    for prompt, response in TOKENS:
        item = TrainingExample(prompt, (20, 21, 22, *prompt), response, (0.0,) * len(response))
        batch = align([item], torch.device("cpu"))
        with torch.no_grad():
            logprobs = token_logprobs(response_logits(model, batch.student), batch.token_ids)
        made.append(TrainingExample(prompt, item.teacher_prompt_ids, response, tuple(logprobs.tolist())))
    return made


def weights(model: PeftModel) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def config(**settings) -> TrainingConfig:
    return TrainingConfig(**({"teacher_top_k": 10} | settings))


def optimizer_of(model: PeftModel, learning_rate: float = 0.01) -> torch.optim.AdamW:
    return new_optimizer(trainable_parameters(model), learning_rate)


def test_sft_is_cross_entropy_on_the_answers_whatever_a_teacher_would_say(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    items = items_for(model)
    by_hand = -sum(sum(item.logprobs) for item in items) / sum(len(item.logprobs) for item in items)
    settings = config(objective="sft", steps_per_batch=2)
    report = run_update(model, optimizer_of(model), items, settings)
    assert report["cross_entropy_first"] == pytest.approx(by_hand, rel=1e-5)
    assert report["cross_entropy_last"] < report["cross_entropy_first"]
    assert report["cross_entropy"] == (report["cross_entropy_first"] + report["cross_entropy_last"]) / 2
    assert not any("distill" in name or "loss" in name for name in report)
    other = adapted()
    taught = [TrainingExample(item.prompt_ids, item.prompt_ids, item.token_ids, item.logprobs) for item in items]
    run_update(other, optimizer_of(other), taught, settings)
    assert all(torch.equal(one, weights(other)[name]) for name, one in weights(model).items())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_repeated_updates_bring_the_student_towards_the_teacher(adapted: Callable[[], PeftModel], alpha: float) -> None:
    model = adapted()
    items, optimizer = items_for(model), optimizer_of(model)
    first, *_, last = [run_update(model, optimizer, items, config(alpha=alpha)) for _ in range(8)]
    assert first["distill_loss_last"] < first["distill_loss_first"]
    assert last["distill_loss"] < 0.5 * first["distill_loss"]


def test_only_the_adapter_changes(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    before = weights(model)
    run_update(model, optimizer_of(model), items_for(model), config(kl_reg_weight=0.1))
    for name, now in weights(model).items():
        assert torch.equal(now, before[name]) == ("lora_" not in name), name
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_report_is_a_flat_map_of_finite_numbers(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    report = run_update(model, optimizer_of(model), items_for(model), config(steps_per_batch=3, kl_reg_weight=0.1))
    assert set(report) == KEYS
    assert all(type(value) is float and isfinite(value) for value in report.values())
    assert (report["tokens_processed"], report["batch_size"], report["steps_per_batch_applied"]) == (9, 3, 3)
    assert report["total_loss"] == pytest.approx(report["distill_loss"] + report["kl_reg"])
    assert report["kl_reg"] > 0
    assert report["grad_norm"] > 0


def test_fresh_samples_have_ratio_one_and_each_step_recomputes_it(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    items = items_for(model)
    one = run_update(model, optimizer_of(model, 1e-9), items, config(steps_per_batch=1))
    assert one["mean_is_ratio"] == pytest.approx(1, abs=1e-4)
    assert one["clip_fraction"] == 0
    several = run_update(model, optimizer_of(model), items, config(steps_per_batch=4))
    assert abs(several["mean_is_ratio"] - 1) > 1e-4


def test_the_teacher_runs_once_however_many_steps_are_taken(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    items, optimizer, calls = items_for(model), optimizer_of(model), []
    model.register_forward_hook(lambda *_: calls.append(1))
    run_update(model, optimizer, items, config(steps_per_batch=3))
    assert len(calls) == 1 + 3
    calls.clear()
    run_update(model, optimizer, items, config(steps_per_batch=3, kl_reg_weight=0.1))
    assert len(calls) == 2 + 3


def test_the_teacher_is_the_base_model_that_has_read_the_feedback(adapted: Callable[[], PeftModel]) -> None:
    trained, model = adapted(), adapted()
    items = items_for(model)
    report = run_update(trained, optimizer_of(trained), items, config(steps_per_batch=1, kl_reg_weight=1.0))
    batch = align(items, torch.device("cpu"))
    with torch.no_grad():
        student = response_logits(model, batch.student)
        base = model.unload()
        expected = sdpo_loss(
            student,
            batch.token_ids,
            batch.sampling_logprobs,
            teacher_target(response_logits(base, batch.teacher), 10),
            alpha=0.5,
            is_clip=5.0,
            kl_reg_weight=1.0,
            base_logprobs=token_logprobs(response_logits(base, batch.student), batch.token_ids),
        )
    assert report["distill_loss"] == pytest.approx(expected.distill_loss, rel=1e-4)
    assert report["kl_reg"] == pytest.approx(expected.kl_reg, rel=1e-3)


@pytest.mark.parametrize("bound", [{"max_tokens": 1}, {"max_tokens": 20}, {"max_logits": 1}])
def test_the_grouping_of_the_items_does_not_matter(adapted: Callable[[], PeftModel], bound: dict[str, int]) -> None:
    whole, parts = adapted().double(), adapted().double()
    items, settings = items_for(whole), config(steps_per_batch=2, kl_reg_weight=0.1)
    expected = run_update(whole, optimizer_of(whole), items, settings)
    report = run_update(parts, optimizer_of(parts), items, settings, **bound)
    assert report == pytest.approx(expected, rel=1e-9)
    ours, theirs = weights(parts), weights(whole)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-6, atol=1e-9)


def test_the_gradient_is_clipped_to_the_norm_asked_for(adapted: Callable[[], PeftModel]) -> None:
    for limit in (0.001, 0.0):
        model = adapted()
        before = weights(model)
        plain = torch.optim.SGD([parameter for _, parameter in trainable_parameters(model)], lr=1.0)
        report = run_update(model, plain, items_for(model), config(max_grad_norm=limit, steps_per_batch=1))
        moved = sum((now - before[name]).pow(2).sum() for name, now in weights(model).items()) ** 0.5
        assert report["grad_norm"] > 0.001
        assert moved.item() == pytest.approx(limit or report["grad_norm"], rel=1e-3)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    items, optimizer = items_for(model), optimizer_of(model, 0.25)
    name, broken = trainable_parameters(model)[0]
    with torch.no_grad():
        broken[0, 0] = float("nan")
    before = weights(model)
    with pytest.raises(StackError, match=r"nan at optimiser step 1 of 4.*lower training.learning_rate \(now 0.25\)"):
        run_update(model, optimizer, items, config())
    for each, now in weights(model).items():
        assert torch.equal(now.nan_to_num(), before[each].nan_to_num()), name


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    items, optimizer = items_for(model), optimizer_of(model)
    trainable_parameters(model)[0][1].register_hook(lambda gradient: gradient * float("inf"))
    before = weights(model)
    with pytest.raises(StackError, match="grad_norm is"):
        run_update(model, optimizer, items, config())
    assert all(torch.equal(now, before[name]) for name, now in weights(model).items())


def test_an_update_of_nothing_is_refused(adapted: Callable[[], PeftModel]) -> None:
    model = adapted()
    with pytest.raises(InvalidInput, match="at least one"):
        run_update(model, optimizer_of(model), [], config())


def test_a_model_without_an_adapter_is_refused(adapted: Callable[[], PeftModel]) -> None:
    plain: torch.nn.Module = adapted().unload()
    with pytest.raises(TypeError, match="no adapter"):
        run_update(plain, torch.optim.SGD(plain.parameters()), [TrainingExample((1,), (1,), (2,), (-1.0,))], config())


def test_training_resumes_bit_for_bit_from_stored_state(adapted: Callable[[], PeftModel]) -> None:
    whole = adapted()
    items, optimizer = items_for(whole), optimizer_of(whole)
    run_update(whole, optimizer, items, config())
    stored_weights, stored_state = weights(whole), optimizer_tensors(optimizer)
    expected = run_update(whole, optimizer, items, config())

    resumed = adapted()
    resumed.load_state_dict(stored_weights, strict=False)
    again = optimizer_of(resumed)
    load_optimizer_tensors(again, stored_state)
    assert run_update(resumed, again, items, config()) == expected
    assert all(torch.equal(now, weights(whole)[name]) for name, now in weights(resumed).items())


def test_nothing_is_drawn_from_the_global_random_state(adapted: Callable[[], PeftModel]) -> None:
    model = adapted().train()
    items, before = items_for(model), torch.get_rng_state()
    run_update(model, optimizer_of(model), items, config())
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training


def test_a_half_precision_model_is_trained_too(adapted: Callable[[], PeftModel]) -> None:
    model = adapted().to(torch.bfloat16)
    report = run_update(model, optimizer_of(model), items_for(model), config(kl_reg_weight=0.1))
    assert all(isfinite(value) for value in report.values())
    assert report["distill_loss_last"] < report["distill_loss_first"]
