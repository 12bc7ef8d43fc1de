"""A compiled kernel as bytes, with all that running it needs."""

from __future__ import annotations

import msgspec

from tuner.runtime.errors import TunerError
from tuner.space import Argument

__all__ = ["Artifact"]

FORMAT = 1


class Artifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A compiled kernel.

    Attributes:
        neff: What the runtime loads; empty for Beta-1, which compiles whenever it times.
        config: What the kernel was called with besides its tensors.
        arguments: (name, shape, dtype) of its tensors.
        route: How it was compiled.
        compile_s: Seconds that it took.
    """

    neff: bytes
    config: dict[str, str | int | float | bool | None]
    arguments: list[tuple[str, tuple[int, ...], str]]
    route: str
    compile_s: float
    format: int = FORMAT

    @property
    def tensors(self) -> tuple[Argument, ...]:
        """Its tensors."""
        return tuple(Argument(*each) for each in self.arguments)

    def packed(self) -> bytes:
        """Returns it as bytes."""
        return msgspec.msgpack.encode(self)

    @staticmethod
    def unpacked(data: bytes) -> Artifact:
        """Reads what `packed` wrote.

        Raises:
            TunerError: It is something else.
        """
        try:
            artifact = msgspec.msgpack.decode(data, type=Artifact)
        except msgspec.MsgspecError as error:
            raise TunerError(f"not a compiled kernel: {error}") from None
        if artifact.format != FORMAT:
            raise TunerError(f"not a compiled kernel of this version: format {artifact.format}")
        return artifact
