"""A Gaussian process over the rows of a search space."""

from tuner.search.gaussian.distances import Distances, Points
from tuner.search.gaussian.fitting import Model, fit
from tuner.search.gaussian.posterior import Posterior

__all__ = ["Distances", "Model", "Points", "Posterior", "fit"]
