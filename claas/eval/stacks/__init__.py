"""Implementations of `claas.eval.stacks.stack.Stack`: over HTTP to a live API, or to one hosted in this process."""
