"""What every test shares: laws are tried on fifty examples, and a slow machine is not a failure."""

from hypothesis import settings

settings.register_profile("claas", deadline=None, max_examples=50)
settings.load_profile("claas")
