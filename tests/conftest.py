"""How hard hypothesis tries: the same examples in every ordinary run, many new ones when asked."""

from hypothesis import settings

settings.register_profile("ordinary", derandomize=True)
settings.register_profile("deep", max_examples=10_000)
settings.load_profile("ordinary")
