from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.neuron.fake import Fake, install, use


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with AWS's SDK 2.32, as the documentation has it, and two trn2 cores."""
    return install(tmp_path_factory.mktemp("neuron") / "sdk").folder


@pytest.fixture
def fake(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """The same for every test, so that it is probed once; nothing goes wrong until asked to."""
    return use(installed, monkeypatch)
