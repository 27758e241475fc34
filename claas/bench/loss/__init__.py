"""Loss on held-out text: how surprised a model is by what people wrote, as a metric of a run and as a command."""
