from __future__ import annotations

from pathlib import Path

import pytest

from tests.backends.neuron.fake import Fake, install


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A machine with AWS's SDK 2.32, as the documentation has it, and two trn2 cores."""
    return install(tmp_path / "sdk", monkeypatch)
