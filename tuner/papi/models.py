"""Decoder-only language models: the sizes that decide what decoding costs."""

from __future__ import annotations

import msgspec

from tuner.papi.files import kept, names, table_of
from tuner.runtime.errors import TunerError

__all__ = ["Layer", "Model", "model", "model_names"]

FOLDER = "models"
BYTES = 2
"""Of a number: FP16."""
LARGEST = 1 << 20


class Layer(msgspec.Struct, frozen=True):
    """One fully-connected kernel of a layer: rows times `inputs` to rows times `outputs`.

    Attributes:
        copies: Experts that have one each.
        used: Experts that a token goes through.
    """

    name: str
    inputs: int
    outputs: int
    copies: int = 1
    used: int = 1

    @property
    def weight_bytes(self) -> int:
        """Bytes of one copy."""
        return self.inputs * self.outputs * BYTES


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model.

    Attributes:
        source: Where its sizes are from.
        hidden: Numbers of a token between layers.
        kv_heads: Heads of keys and values, which several query heads may share.
        ffn: Inner size of the feed-forward network, of one expert.
        ffn_matrices: Of the feed-forward network: 3 where it has a gate.
        experts: Feed-forward networks of a layer.
    """

    source: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    ffn_matrices: int
    experts: int = 1
    experts_per_token: int = 1
    name: str = ""

    @property
    def kernels(self) -> tuple[Layer, ...]:
        """The fully-connected kernels of one layer, in their order."""
        kv = 2 * self.kv_heads * self.head_dim
        query = self.heads * self.head_dim
        shared = (self.experts, self.experts_per_token)
        return (
            Layer("qkv", self.hidden, query + kv),
            Layer("projection", query, self.hidden),
            Layer("ffn_up", self.hidden, (self.ffn_matrices - 1) * self.ffn, *shared),
            Layer("ffn_down", self.ffn, self.hidden, *shared),
        )

    @property
    def weight_bytes(self) -> int:
        """Bytes of all layers' weights; embeddings are not counted."""
        return self.layers * sum(k.weight_bytes * k.copies for k in self.kernels)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes that a token adds to the cache of keys and values."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BYTES


def model_names() -> list[str]:
    """Returns the names of the shipped models."""
    return names(FOLDER)


@kept
def model(name: str) -> Model:
    """Returns a model: a shipped one by its name, one of the user's by the path of its file.

    Raises:
        TunerError: There is none, or something in its file is wrong.
    """
    table, label, path = table_of("model", name, FOLDER)
    try:
        found = msgspec.convert({**table, "name": path.stem}, Model)
    except msgspec.ValidationError as error:
        raise TunerError(f"{label}: {error}") from None
    for key in msgspec.structs.fields(Model):
        value = getattr(found, key.name)
        if isinstance(value, int) and not 1 <= value <= LARGEST:
            raise TunerError(f"{label}: {key.name} = {value}: expected 1 to {LARGEST}")
    for few, many in (("kv_heads", "heads"), ("experts_per_token", "experts")):
        if getattr(found, few) > getattr(found, many):
            raise TunerError(
                f"{label}: {few} = {getattr(found, few)}: more than {many} = {getattr(found, many)}"
            )
    if found.heads % found.kv_heads:
        raise TunerError(f"{label}: heads = {found.heads}: expected a multiple of kv_heads")
    if found.ffn_matrices not in (2, 3):
        raise TunerError(f"{label}: ffn_matrices = {found.ffn_matrices}: expected 2 or 3")
    return found
