from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.search.conformance import SamplerConformance


class TestGaussian(SamplerConformance):
    sampler = "gp"


class TestAnneal(SamplerConformance):
    sampler = "anneal"


class TestRandom(SamplerConformance):
    sampler = "random"


class TestExhaustive(SamplerConformance):
    sampler = "exhaustive"


class TestTPE(SamplerConformance):
    sampler = "TPESampler"


class TestNSGAII(SamplerConformance):
    sampler = "NSGAIISampler"


class TestQMC(SamplerConformance):
    sampler = "QMCSampler"


class TestOptunaRandom(SamplerConformance):
    sampler = "RandomSampler"


@pytest.mark.skipif(find_spec("cmaes") is None, reason="needs the package cmaes")
class TestCmaEs(SamplerConformance):
    sampler = "CmaEsSampler"
