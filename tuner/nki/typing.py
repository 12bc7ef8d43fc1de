"""nki.typing, simulated: annotations of kernels' arguments."""

from __future__ import annotations

from typing import Any

__all__ = ["tensor"]


class tensor:  # noqa: N801 - NKI's name
    """An argument that is a tensor; `tensor[shape]` says its shape too."""

    def __class_getitem__(cls, shape: Any) -> Any:
        return cls
