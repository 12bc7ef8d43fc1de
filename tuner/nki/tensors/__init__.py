"""Tensors: views on allocations, what they are stored in, how they may be looked at."""
