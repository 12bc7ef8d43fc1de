"""What is compared: the chain of NeuronMM's kernel curve, layers of models, plain matmuls."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DTYPE", "MODELS", "PAPER", "PAPER_ROWS", "PLAIN", "Chain", "paper_chain"]

DTYPE = "bfloat16"
PAPER = "NeuronMM"
PAPER_ROWS = (1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True)
class Chain:
    """y[M,N] = x[M,K] @ u[K,R] @ v[R,N], which replaces x @ w with w[K,N]."""

    name: str
    M: int
    K: int
    R: int
    N: int

    @property
    def flop_ratio(self) -> float:
        """Operations of x @ w over those of the chain: what compression alone gives."""
        return self.K * self.N / (self.R * (self.K + self.N))

    @property
    def sizes(self) -> dict[str, int]:
        """As kernel `xuv` names them."""
        return {"M": self.M, "K": self.K, "R": self.R, "N": self.N}

    @property
    def product(self) -> dict[str, int]:
        """Sizes of x @ w, as kernel `matmul` names them."""
        return {"M": self.M, "K": self.K, "N": self.N}


def paper_chain(rows: int) -> Chain:
    """The chain of the paper's kernel curve: (rows, 8192) x (8192, 4096) x (4096, 16384)."""
    return Chain(PAPER, rows, 8192, 4096, 16384)


# Up (and gate) projections of models at a compression ratio of 0.2; K and N are `hidden_size` and
# `intermediate_size` of their public config.json, R = floor(K*N*0.8 / ((K + N)*128) + 0.5) * 128.
MODELS = (
    Chain("Llama-3.2-1B up", 2048, 2048, 1280, 8192),
    Chain("Llama-3.1-8B up", 2048, 4096, 2560, 14336),
    Chain("Qwen3-4B up", 2048, 2560, 1664, 9728),
)

PLAIN = (
    {"M": 2048, "K": 2048, "N": 2048},
    {"M": 4096, "K": 4096, "N": 4096},
    {"M": 2048, "K": 8192, "N": 8192},
)
