from __future__ import annotations

import optuna
import pytest

from tests.search.conformance import SamplerConformance
from tests.search.studies import smooth
from tuner.runtime.errors import TunerError
from tuner.search import make_sampler, suggest
from tuner.space import SearchSpace


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


class TestCmaEs(SamplerConformance):
    sampler = "CmaEsSampler"

    def test_several_objectives(self, blocks: SearchSpace) -> None:
        study = optuna.create_study(
            sampler=make_sampler(self.sampler, blocks), directions=["minimize", "minimize"]
        )
        with pytest.raises(TunerError, match=r"CmaEsSampler cannot be used here: .*objective"):
            study.optimize(lambda t: (smooth(suggest(t, blocks)), 1.0), n_trials=3)
