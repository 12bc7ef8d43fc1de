from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.small_table import Open
from tuner.runtime import Table, load


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Writes the data as a file and loads it."""

    def open_table(data: Any) -> Table:
        path = tmp_path / "table.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return load(path)

    return open_table
