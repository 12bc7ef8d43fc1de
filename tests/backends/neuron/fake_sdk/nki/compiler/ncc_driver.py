from __future__ import annotations

import os
from typing import Any

from nki.framework.compiled import written


class CompileOptions:
    def __init__(self, target: str, lnc: int, artifacts_dir: str, output_path: str) -> None:
        self.output_path = output_path

    def disable_backend_optimizations(self) -> CompileOptions:
        return self


def compile_bir_to_neff(
    options: CompileOptions,
    lowered: Any,
    input_arrays: Any,
    argument_names: Any,
    output_arg_names: Any,
) -> Any:
    return written(lowered, os.path.dirname(options.output_path))
