"""Run-time lookup of tuned configs: standard library only, imports nothing else of `tuner`.

table = tuner.runtime.load("trn2.json")
answer = table.lookup("matmul", M=1024, K=4096, N=4096, dtype="bfloat16")
matmul(lhsT, rhs, **answer.config)
"""

from tuner.runtime.errors import TunerError
from tuner.runtime.loading import load
from tuner.runtime.table import Answer, Record, Table

__all__ = ["Answer", "Record", "Table", "TunerError", "load"]
