"""How NEFFs are run and timed."""
