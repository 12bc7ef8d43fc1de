from fake_isa import *  # type: ignore[import-not-found] # noqa: F403
