"""Protocols: which adapters learn what, in which order, and what their users say."""
