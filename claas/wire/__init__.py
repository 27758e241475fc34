"""The HTTP contract as pydantic models, shared by server, harness and plug-ins."""
