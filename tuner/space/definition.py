"""Reads a search space file: a TOML that says what a kernel takes, what may be tuned and what is
legal.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from tuner import bundled
from tuner.runtime.errors import TunerError, unknown
from tuner.runtime.expressions import Expression
from tuner.runtime.files import read_text
from tuner.runtime.rules import DTYPE_BYTES, Config, Constraint, Rules, Value
from tuner.runtime.sizes import Variants, dims_of, variant_values
from tuner.space.checks import (
    RESERVED,
    check_names,
    make_parameters,
    make_variants,
    parse_expression,
)
from tuner.space.terms import Terms
from tuner.space.workload import Argument, ArgumentSpec, Workload

__all__ = [
    "Definition",
    "bundled_spaces",
    "find",
    "read",
    "space_argument",
]

MAX_FILE_BYTES = 1 << 20
MAX_FLOPS = 1e300
ROUNDINGS = 4


class _Kernel(msgspec.Struct, forbid_unknown_fields=True):
    file: str
    entry: str
    reference: str


class _Workload(msgspec.Struct, forbid_unknown_fields=True):
    dims: list[str]
    dtypes: list[str]
    inputs: dict[str, str | list[str]]
    outputs: dict[str, str | list[str]]
    flops: str
    variants: dict[str, list[str]] = {}


class _Verification(msgspec.Struct, forbid_unknown_fields=True):
    blocks: dict[str, str]
    roundings: Annotated[int, msgspec.Meta(ge=1, le=1000)] = ROUNDINGS


class _Parameter(msgspec.Struct, forbid_unknown_fields=True):
    values: list[int | float | bool | str]
    default: int | float | bool | str
    when: str | None = None


class _Constraint(msgspec.Struct, forbid_unknown_fields=True):
    expr: str
    why: str


class _File(msgspec.Struct, forbid_unknown_fields=True):
    kind: Literal["kernel"]
    kernel: _Kernel
    workload: _Workload
    verification: _Verification
    parameters: dict[str, _Parameter]
    constraints: list[_Constraint] = []
    terms: dict[str, str] = {}


@dataclass(frozen=True)
class Definition:
    """A search space as its file gives it, before sizes and device are known.

    Attributes:
        name: The file's stem; the kernel's name in commands and tables.
        variants: What the kernel may compute; of each the default first.
        flops: Floating-point operations of one run, over dims, variants and `dtype_bytes`.
        roundings: Roundings of a number on its way through the kernel that its check allows for.
        blocks: For each dim, how much of it one iteration of its loop covers, over these and the
            parameters.
        space_hash: Hash of the content; comments and layout do not count.
    """

    name: str
    path: Path
    kernel_file: Path
    entry: str
    reference: str
    dims: tuple[str, ...]
    dtypes: tuple[str, ...]
    variants: Variants
    inputs: tuple[ArgumentSpec, ...]
    outputs: tuple[ArgumentSpec, ...]
    flops: Expression
    blocks: Mapping[str, Expression]
    roundings: int
    rules: Rules
    space_hash: str

    def workload(self, sizes: Mapping[str, int | str], dtype: str | None = None) -> Workload:
        """Binds sizes, variants and dtype (the first of `dtypes` when left out); raises TunerError
        for wrong ones.
        """
        chosen = dtype or self.dtypes[0]
        return Workload.of(self.name, self.dims, self.dtypes, sizes, chosen, self.variants)

    def variants_of(self, workload: Workload) -> dict[str, str]:
        """Returns every variant's word for a workload: keywords of the kernel."""
        return variant_values(self.variants, dict(workload.sizes))

    def arguments(self, workload: Workload) -> tuple[Argument, ...]:
        """Returns the kernel's input tensors for a workload."""
        return self._bound(self.inputs, workload)

    def bytes_moved_at_least(self, workload: Workload) -> int:
        """Bytes of every input read once and every output written once."""
        return sum(each.bytes for each in self._bound((*self.inputs, *self.outputs), workload))

    def flops_of(self, workload: Workload) -> float:
        """Returns the floating-point operations of one run."""
        value = self.flops.evaluate(self.scope(workload, {}))
        if isinstance(value, str) or not 0 <= value <= MAX_FLOPS:
            raise TunerError(f"{self.path}: workload.flops: {self.flops.text!r} is {value!r}")
        return float(value)

    def _bound(self, specs: Sequence[ArgumentSpec], workload: Workload) -> tuple[Argument, ...]:
        values = self.scope(workload, {})
        bound = [spec.bind(values, workload.dtype) for spec in specs]
        return tuple(argument for argument in bound if argument is not None)

    def scope(self, workload: Workload, device_facts: Mapping[str, Value]) -> dict[str, Value]:
        """Returns the values of the names that constraints may use besides parameters."""
        scope: dict[str, Value] = {**dict(workload.sizes), **self.variants_of(workload)}
        scope["dtype_bytes"] = DTYPE_BYTES[workload.dtype]
        return scope | {f"device.{name}": value for name, value in device_facts.items()}

    def verification_workload(self, workload: Workload, config: Config) -> Workload:
        """Returns the smallest workload that exercises a config as this one does.

        In it no block is clamped, every loop over blocks runs at least twice, and what remains of
        each dim after whole blocks is what remains of it in `workload`.
        """
        values = {**self.scope(workload, {}), **config}
        sizes = dict(workload.sizes)
        for dim, size in dims_of(sizes).items():
            block = self.blocks[dim].evaluate(values)
            if not isinstance(block, int) or block < 1:
                text = self.blocks[dim].text
                raise TunerError(f"{self.path}: verification.blocks.{dim}: {text!r} is {block!r}")
            sizes[dim] = block + (size % block or block)
        return self.workload(sizes, workload.dtype)


def bundled_spaces() -> list[str]:
    """Returns the names of the search spaces that come with the package."""
    return bundled.names("search_spaces", ".toml")


def space_argument(definition: Definition) -> str:
    """Returns what `find` takes for a search space: its bundled name, else its path."""
    bundled_folder = bundled.folder("search_spaces").resolve()
    if definition.path.resolve().parent == bundled_folder:
        return definition.name
    return str(definition.path)


def find(name: str) -> Definition:
    """Reads a search space by the path of its file or by its bundled name.

    Raises:
        TunerError: There is none of that name, or its content is wrong.
    """
    path = Path(name)
    if path.suffix == ".py":
        raise TunerError(
            f"{name} is a kernel file: give the search space that names it (a .toml), or measure "
            "one config of it with nki-tuner measure FILE.py:FUNCTION --arg ..."
        )
    if path.suffix == ".toml" or os.sep in name:
        return read(path)
    if name not in bundled_spaces():
        raise unknown("kernel", name, bundled_spaces())
    return read(bundled.folder("search_spaces") / f"{name}.toml")


def read(path: Path) -> Definition:
    """Reads and checks one search space file.

    Raises:
        TunerError: Names the file, the place in it and what was expected there.
    """
    try:
        data = tomllib.loads(read_text(path, MAX_FILE_BYTES))
        file = msgspec.convert(data, _File)
    except ValueError as error:  # of TOML, of the types
        raise TunerError(f"{path}: {error}") from None
    except RecursionError:
        raise TunerError(f"{path}: nested too deeply") from None
    try:
        return _definition(path, file, data)
    except TunerError as error:
        raise TunerError(f"{path}: {error}") from None


def _definition(path: Path, file: _File, data: Mapping[str, Any]) -> Definition:
    dims = tuple(file.workload.dims)
    if not dims or len(set(dims)) != len(dims):
        raise TunerError("workload.dims: expected at least one dim, each once")
    check_names(
        dims, file.workload.variants, file.parameters, keywords_besides=file.workload.inputs
    )
    for dtype in file.workload.dtypes:
        if dtype not in DTYPE_BYTES:
            raise unknown("dtype in workload.dtypes:", dtype, DTYPE_BYTES)
    if not file.workload.dtypes or not file.workload.inputs or not file.workload.outputs:
        raise TunerError("workload: expected at least one dtype, one input and one output")
    variants = make_variants(file.workload.variants)
    sizes = {*dims, *variants, "dtype_bytes"}
    terms = Terms(file.terms, sizes | set(file.parameters) | RESERVED)
    entries = {
        name: (p.values, p.default, None if p.when is None else terms.put_in(p.when))
        for name, p in file.parameters.items()
    }
    parameters = make_parameters(entries, sizes | {"device.*"}, variants)
    known = sizes | {parameter.name for parameter in parameters}
    choices = {**variants, **{parameter.name: parameter.values for parameter in parameters}}

    def parsed(text: str, where: str, names: set[str]) -> Expression:
        return parse_expression(terms.put_in(text), where, names, choices)

    constraints = tuple(
        Constraint(parsed(c.expr, f"constraints[{i}].expr", known | {"device.*"}), c.why)
        for i, c in enumerate(file.constraints)
    )
    if set(file.verification.blocks) != set(dims):
        raise TunerError(f"verification.blocks: expected one entry a dim ({', '.join(dims)})")
    canonical = json.dumps([data, list(file.parameters)], sort_keys=True)
    return Definition(
        name=path.stem,
        path=path,
        kernel_file=_kernel_file(path, file.kernel.file),
        entry=file.kernel.entry,
        reference=file.kernel.reference,
        dims=dims,
        dtypes=tuple(file.workload.dtypes),
        variants=variants,
        inputs=_tensors(file.workload.inputs, dims, variants),
        outputs=_tensors(file.workload.outputs, dims, variants),
        flops=parsed(file.workload.flops, "workload.flops", sizes),
        blocks={
            dim: parsed(text, f"verification.blocks.{dim}", known)
            for dim, text in file.verification.blocks.items()
        },
        roundings=file.verification.roundings,
        rules=Rules(parameters, constraints),
        space_hash=hashlib.sha256(canonical.encode()).hexdigest()[:16],
    )


def _tensors(
    entries: Mapping[str, str | list[str]], dims: Sequence[str], variants: Variants
) -> tuple[ArgumentSpec, ...]:
    return tuple(ArgumentSpec.parse(name, text, dims, variants) for name, text in entries.items())


def _kernel_file(space: Path, name: str) -> Path:
    """A kernel is named from its search space's folder, or from the folder above it."""
    if not name.endswith(".py"):
        raise TunerError(f"kernel.file: {name!r} is no Python file: expected NAME.py")
    for base in (space.parent, space.parent.parent):
        if os.path.isfile(base / name):
            return (base / name).resolve()
    raise TunerError(f"kernel.file: there is no {name!r} beside the file or one folder above")
