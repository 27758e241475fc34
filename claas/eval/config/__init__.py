"""From YAML, names and the command line to a checked configuration and the objects it names."""
