"""CLaaS: continual learning as a service, and the harness that measures whether feedback sticks."""

__version__ = "0.1.0"
