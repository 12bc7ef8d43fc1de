from fake_language import *  # type: ignore[import-not-found] # noqa: F403
