"""Engines: what answers, scores, learns and keeps versions behind the API."""
