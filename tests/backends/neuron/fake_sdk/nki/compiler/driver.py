from __future__ import annotations

from typing import Any

from nki.framework.compiled import written


def _compile_bir_to_neff(lowered: Any, options: Any, inputs: Any) -> Any:
    return written(lowered, options["folder"])
