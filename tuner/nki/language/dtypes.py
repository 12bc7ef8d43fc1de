"""dtypes and kinds of memory, by nki.language's names."""

from __future__ import annotations

from typing import Any

from tuner.neuroncore.program import Space
from tuner.nki.tensors.storage import Buffer

DType = str

bool_ = "bool"
int8 = "int8"
int16 = "int16"
int32 = "int32"
uint8 = "uint8"
uint16 = "uint16"
uint32 = "uint32"
float16 = "float16"
float32 = "float32"
bfloat16 = "bfloat16"
tfloat32 = "tfloat32"
float8_e4m3 = "float8_e4m3"
float8_e4m3fn = "float8_e4m3fn"
float8_e5m2 = "float8_e5m2"
# Known by name only: no tensor can have them.
float8_e5m2_x4 = "float8_e5m2_x4"
float8_e4m3fn_x4 = "float8_e4m3fn_x4"
float8_e8m0fnu = "float8_e8m0fnu"
float4_e2m1fn_x4 = "float4_e2m1fn_x4"

MemoryRegion = Buffer
sbuf = Buffer.sbuf
psum = Buffer.psum
private_hbm = Buffer.private_hbm
hbm = private_hbm
shared_hbm = Buffer.shared_hbm


def is_hbm(buffer: Any) -> bool:
    """Returns whether a buffer is in HBM."""
    return isinstance(buffer, Buffer) and buffer.space == Space.HBM


def is_on_chip(buffer: Any) -> bool:
    """Returns whether a buffer is SBUF or PSUM."""
    return is_sbuf(buffer) or is_psum(buffer)


def is_psum(buffer: Any) -> bool:
    """Returns whether a buffer is PSUM."""
    return isinstance(buffer, Buffer) and buffer.space == Space.PSUM


def is_sbuf(buffer: Any) -> bool:
    """Returns whether a buffer is SBUF."""
    return isinstance(buffer, Buffer) and buffer.space == Space.SBUF
