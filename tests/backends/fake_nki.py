"""A package `nki` in numpy, enough for the small kernel, that can be made to fail in every way."""

from __future__ import annotations

from pathlib import Path

PACKAGE = '''\
"""FAKE_NKI in the environment says what goes wrong."""
import inspect
import os
import signal
import sys
import time

import numpy as np

FAULT = os.environ.get("FAKE_NKI", "none")
if FAULT == "stub":
    raise ImportError("WRONG PACKAGE: this is not the nki\\nyou want")
if FAULT == "import":
    raise OSError("libnrt.so is not here")


class Kernel:
    def __init__(self, function):
        self.function = function


def jit(function=None, **options):
    return Kernel(function)


def simulate(kernel):
    def run(*arrays, **keywords):
        assert isinstance(kernel, Kernel)
        assert os.environ["NEURON_PLATFORM_TARGET_OVERRIDE"] == os.environ.get("EXPECTED", "trn2")
        assert "tuner" not in sys.modules
        if FAULT == "raises":
            raise AssertionError("NCC: two\\nlines")
        if FAULT == "dies":
            print("about to die", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if FAULT == "exits":
            os._exit(0)
        if FAULT == "hangs":
            print("waiting", file=sys.stderr, flush=True)
            if os.fork() == 0:
                time.sleep(60)
            time.sleep(60)
        assert list(inspect.signature(kernel.function).parameters)[: len(arrays)]
        out = kernel.function(*arrays, **keywords)
        if FAULT == "element":
            out[32, 3] += 1
        if FAULT == "dtype":
            out = out.astype(np.float16)
        if FAULT == "lost":
            out = out.view("V%d" % out.dtype.itemsize)
        if FAULT == "two":
            out = (out, out)
        return out

    return run


if FAULT == "old":
    del simulate
'''

LANGUAGE = """\
import numpy as np

sbuf = psum = hbm = shared_hbm = None
float32 = np.float32
add = np.add
multiply = np.multiply


def ndarray(shape, dtype, buffer=None):
    return np.full(shape, np.nan, dtype)
"""

ISA = """\
class engine:
    vector = gpsimd = None


def dma_copy(dst, src):
    dst[...] = src


def tensor_tensor(dst, data1, data2, op, engine=None):
    dst[...] = op(data1, data2)
"""


def write_nki(folder: Path, version: str | None = "0.6.0") -> Path:
    """Writes the package and, unless `version` is None, its metadata; returns the folder."""
    (folder / "nki").mkdir(parents=True)
    (folder / "nki" / "__init__.py").write_text(PACKAGE)
    (folder / "nki" / "language.py").write_text(LANGUAGE)
    (folder / "nki" / "isa.py").write_text(ISA)
    if version is not None:
        metadata = folder / f"nki-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: nki\nVersion: {version}\n")
    return folder
