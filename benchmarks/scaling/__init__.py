"""How many workers one driver keeps busy; prints figures, asserts nothing."""
