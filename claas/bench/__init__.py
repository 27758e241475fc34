"""Standard benchmarks: lm-evaluation-harness over our wire, the same for every model and adapter."""

from claas.bench.library import run_lm_eval as run_lm_eval
