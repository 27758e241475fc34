"""CLaaS: continual learning as a service, and the harness that measures whether feedback sticks."""

__version__ = "0.2.0"
