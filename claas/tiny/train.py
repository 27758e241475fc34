"""Trains the embedded model from nothing: `python -m claas.tiny.train --output DIR`.

Each worker is one process with one thread, and the gradients of all are summed before a step: on a shared machine that
is steadier than one process with many threads, which waits for its slowest thread at every matrix product.
"""

import argparse
import logging
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

from claas.tiny.abilities import Model, quick_scores
from claas.tiny.tokens import Tokenizer, batches, train_tokenizer

# What torch and transformers leave partly untyped, with a type that says so.
auto_tokenizer: Any = AutoTokenizer
causal_lm: Any = Qwen3ForCausalLM
distributed: Any = torch.distributed
multiprocessing: Any = torch.multiprocessing
random_state: Any = torch.random

log = logging.getLogger("claas.tiny.train")
CONSTANT_UNTIL = 0.35
FINAL_RATE = 0.02


@dataclass(frozen=True)
class Plan:
    """The settings of a training run; the defaults are those of the model card's command."""

    output: Path
    init: Path | None = None
    seed: int = 1
    tokens: float = 20e6
    minutes: float = float("inf")
    workers: int = 2
    batch_tokens: int = 3584
    peak: float = 1.0
    warmup_steps: int = 150
    check_every: int = 500


@dataclass
class Progress:
    """Where a run stands, the same in every worker; `tokens` counts padding, as the compute does."""

    steps: int = 0
    tokens: float = 0.0
    minutes: float = 0.0
    loss: float = 0.0

    def fraction(self, plan: Plan) -> float:
        """The share that is done: of the tokens, or of the minutes if those run out first."""
        return max(self.tokens / plan.tokens, self.minutes / plan.minutes)


@dataclass(frozen=True)
class Totals:
    """Sums over the workers of one step's batches."""

    loss: float
    learnt: float
    tokens: float
    minutes: float


def main() -> None:
    """Trains the tokenizer, then the model in `workers` processes."""
    plan = _parse_arguments()
    tokenizer = auto_tokenizer.from_pretrained(plan.init) if plan.init else train_tokenizer(seed=plan.seed)
    tokenizer.save_pretrained(plan.output)
    with tempfile.TemporaryDirectory() as meeting_place:
        multiprocessing.spawn(_work, args=(plan, f"file://{meeting_place}/workers"), nprocs=plan.workers)


def _work(rank: int, plan: Plan, meeting_point: str) -> None:
    """One worker, from the first step to the last. The first one reports and saves."""
    logging.basicConfig(level=logging.INFO if rank == 0 else logging.WARNING, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    random_state.manual_seed(plan.seed)
    distributed.init_process_group("gloo", init_method=meeting_point, rank=rank, world_size=plan.workers)
    tokenizer = auto_tokenizer.from_pretrained(plan.output)
    model = causal_lm.from_pretrained(plan.init, dtype=torch.float32) if plan.init else new_model(tokenizer)
    log.info("parameters %d, vocabulary %d", sum(p.numel() for p in model.parameters()), len(tokenizer))
    optimizers = _optimizers(model, plan)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    progress, started = Progress(), time.monotonic()
    for ids, learnt in batches(f"{plan.seed}/{rank}", tokenizer, plan.batch_tokens):
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * _rate(progress, plan)
        elapsed = (time.monotonic() - started) / 60 if rank == 0 else 0.0
        _report(progress, _step(model, optimizers, ids, learnt, elapsed))
        done = progress.fraction(plan) >= 1
        if rank == 0 and (done or progress.steps % plan.check_every == 0):
            _checkpoint(model, tokenizer, plan)
        if done:
            break
    log.info("finished: %d steps, %.2fM tokens", progress.steps, progress.tokens / 1e6)
    distributed.destroy_process_group()


def new_model(tokenizer: Tokenizer) -> Model:
    """An untrained model for this tokenizer."""
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        intermediate_size=768,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        initializer_range=0.02,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return causal_lm(config)


def _step(model: Model, optimizers: list[Optimizer], ids: Tensor, learnt: Tensor, minutes: float) -> Totals:
    """One update on the workers' batches, each (B, T): the gradient of the mean loss over all learnt tokens."""
    chosen = learnt[:, 1:]
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(ids[:, :-1]).last_hidden_state
        logits = model.lm_head(hidden[chosen])  # (learnt tokens, V)
    loss: Any = functional.cross_entropy(logits.float(), ids[:, 1:][chosen], reduction="sum")
    loss.backward()
    totals = _summed(model, Totals(loss.item(), float(chosen.sum()), float(ids.numel()), minutes))
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return totals


def _summed(model: Model, own: Totals) -> Totals:
    """Replace every worker's gradient by that of the mean loss over all workers; returns the totals."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    counts = torch.tensor([own.loss, own.learnt, own.tokens, own.minutes])
    flat = torch.cat([*(gradient.reshape(-1) for gradient in gradients), counts])
    distributed.all_reduce(flat)
    loss, learnt, tokens, minutes = (float(count) for count in flat[-4:])
    parts = torch.split(flat[:-4] / learnt, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
    return Totals(loss, learnt, tokens, minutes)


def _optimizers(model: Model, plan: Plan) -> list[Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=0.02 * plan.peak, weight_decay=0.01, momentum=0.95, adjust_lr_fn="original"),
        torch.optim.AdamW(others, lr=3e-3 * plan.peak, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _rate(progress: Progress, plan: Plan) -> float:
    """Warm-up, constant, then linear down to `FINAL_RATE` of the peak."""
    warmup = min(1.0, (progress.steps + 1) / plan.warmup_steps)
    left = (1 - progress.fraction(plan)) / (1 - CONSTANT_UNTIL)
    return warmup * max(FINAL_RATE, min(1.0, left))


def _report(progress: Progress, totals: Totals) -> None:
    loss = totals.loss / totals.learnt
    progress.loss = loss if progress.steps == 0 else 0.97 * progress.loss + 0.03 * loss
    progress.steps += 1
    progress.tokens += totals.tokens
    progress.minutes = totals.minutes
    if progress.steps % 50 == 0:
        millions = progress.tokens / 1e6
        log.info("step %d loss %.3f %.2fM tokens %.1f min", progress.steps, progress.loss, millions, progress.minutes)


def _checkpoint(model: Model, tokenizer: Tokenizer, plan: Plan) -> None:
    """Writes a usable bf16 copy and logs what it can do."""
    copy = causal_lm(model.config)
    copy.load_state_dict(model.state_dict())
    copy = copy.to(torch.bfloat16)
    copy.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    copy.save_pretrained(plan.output)
    tokenizer.save_pretrained(plan.output)
    log.info("saved; %s", quick_scores(model.eval(), tokenizer))
    model.train()


def _parse_arguments() -> Plan:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--init", type=Path, help="weights and tokenizer to go on from")
    parser.add_argument("--seed", type=int, default=Plan.seed)
    parser.add_argument("--tokens", type=float, default=Plan.tokens, help="to train on, padding counted")
    parser.add_argument("--minutes", type=float, default=Plan.minutes, help="finish the schedule in this time at most")
    parser.add_argument("--peak", type=float, default=Plan.peak, help="of the full learning rates")
    parser.add_argument("--warmup-steps", type=int, default=Plan.warmup_steps)
    parser.add_argument("--workers", type=int, default=Plan.workers)
    parser.add_argument("--check-every", type=int, default=Plan.check_every, help="steps between checkpoints")
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
