"""Two models' answers compared by a model: as a command, as a metric of a run, and how far it can be trusted."""
