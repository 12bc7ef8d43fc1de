"""What holds for every bundled kernel, whatever it computes."""

from __future__ import annotations

import ast
import inspect
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nki.kernels import check_counts, described, is_whole
from tuner.backends.checking import called, compare, random_values
from tuner.kernel import LoadedKernel, load_kernel, read_kernel
from tuner.neuroncore import device, policy
from tuner.neuroncore.compiler.building import build
from tuner.neuroncore.compiler.memory import CapacityError
from tuner.nki.linter import lint
from tuner.nki.record.tracing import Trace, trace
from tuner.nki.tensors.tensor import Values
from tuner.runtime.errors import TunerError
from tuner.runtime.rules import Config, Constraint, Rules
from tuner.space import Definition, SearchSpace, bundled_spaces, find
from tuner.space.workload import Workload

OFFICIAL = json.loads((Path(__file__).parents[1] / "data" / "nki_signatures.json").read_text())
SIZES = [1, 5, 130, 200, 300, 520, 700]
DEVICES = {"trn1": device("trn1"), "trn2": device("trn2"), "trn3": device("trn3")}
FEW = 100  # outputs whose typical size says little: single sums that cancel are left out
KERNELS = bundled_spaces()
THEIRS = "xuv_neuronmm"  # what others searched: not for every shape, other defaults than the kernel
OURS = [name for name in KERNELS if name != THEIRS]


@dataclass(frozen=True)
class Case:
    """A kernel on one workload of one device."""

    definition: Definition
    workload: Workload
    device: str

    @property
    def variants(self) -> dict[str, str]:
        return dict(self.definition.variants_of(self.workload))

    def traced(
        self, config: Config, values: dict[str, Values] | None = None, symbolic: bool = True
    ) -> Trace:
        kernel, arguments = loaded(self.definition.name), self.definition.arguments(self.workload)
        keywords = {**self.variants, **config}
        with kernel.lent():
            core = DEVICES[self.device]
            return trace(kernel.function, arguments, keywords, core, values, symbolic)

    def check(self, config: Config) -> None:
        """Runs a config and compares what it returns with the float64 reference."""
        arguments = self.definition.arguments(self.workload)
        outputs = [
            spec.bind({**dict(self.workload.sizes), **self.variants}, self.workload.dtype)
            for spec in self.definition.outputs
        ]
        declared = tuple((o.shape, o.dtype) for o in outputs if o is not None)
        values = random_values(arguments)
        if max(math.prod(shape) for shape, _ in declared) < FEW:
            values = {name: np.abs(value) for name, value in values.items()}
        found = self.traced(config, values)
        reference = loaded(self.definition.name).attribute(self.definition.reference)
        expected = called(reference, {**self.variants, **values})
        dtypes = [dtype for _, dtype in found.outputs]
        given_dtypes = [a.dtype for a in arguments]
        roundings = self.definition.roundings
        mismatch = compare(expected, found.values or (), dtypes, given_dtypes, roundings)
        assert mismatch is None, (self, config, mismatch)
        assert found.outputs == declared, (self, config)
        assert found.hazards.counts == {}, (self, config)


@cache
def loaded(name: str) -> LoadedKernel:
    definition = find(name)
    source = read_kernel(definition.kernel_file, definition.entry, definition.reference)
    return load_kernel(source)


def space(case: Case, rules: Rules | None = None) -> SearchSpace | None:
    """The legal configs; None where the device cannot do it at all, as trn1 with float8."""
    scope = case.definition.scope(case.workload, DEVICES[case.device].facts())
    try:
        return SearchSpace(rules or case.definition.rules, scope)
    except TunerError:
        return None


def odd_cases(name: str) -> Iterator[tuple[Case, SearchSpace]]:
    """Odd sizes for every variant and dtype, on one device after the other, where it can."""
    definition = find(name)
    words = [[(v, w) for w in allowed] for v, allowed in definition.variants.items()]
    random = np.random.default_rng(len(name))
    kinds = list(product(product(*words), definition.dtypes))
    for number in range(max(24, len(kinds))):
        (chosen, dtype), where = kinds[number % len(kinds)], list(DEVICES)[number % 3]
        sizes = {dim: int(random.choice(SIZES)) for dim in definition.dims}
        case = Case(definition, definition.workload({**sizes, **dict(chosen)}, dtype), where)
        legal = space(case)
        if legal is not None:
            yield case, legal


def some(legal: SearchSpace, count: int, seed: int = 0) -> list[Config]:
    rows = np.random.default_rng(seed).permutation(len(legal))[:count]
    return [legal.config(int(row)) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_every_choice_gives_the_reference_s_result(name: str) -> None:
    """Every value of every parameter, with every dtype and with every word of every variant."""
    tried: set[Any] = set()
    for number, (case, legal) in enumerate(odd_cases(name)):
        kinds = [case.workload.dtype, *case.variants.items()]
        for turn, config in enumerate(some(legal, 300, number)):
            choices = set(product(kinds, config.items()))
            if turn == 0 or choices - tried:
                case.check(config)
            tried |= choices
    parameters = find(name).rules.parameters
    words = {(p.name, v) for p in parameters for v in p.values if isinstance(v, str)}
    assert words <= {item for _, item in tried}


@pytest.mark.slow
@settings(max_examples=25)
@given(st.data())
@pytest.mark.parametrize("name", OURS)
def test_any_config_of_any_shape_gives_the_reference_s_result(
    name: str, data: st.DataObject
) -> None:
    definition = find(name)
    sizes: dict[str, Any] = {d: data.draw(st.integers(1, 400), d) for d in definition.dims}
    for variant, words in definition.variants.items():
        sizes[variant] = data.draw(st.sampled_from(words), variant)
    dtype = data.draw(st.sampled_from(definition.dtypes))
    case = Case(definition, definition.workload(sizes, dtype), "trn2")
    legal = space(case)
    assert legal is not None
    case.check(legal.config(data.draw(st.integers(0, len(legal) - 1))))


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_loops_as_wholes_give_the_program_of_loops_pass_by_pass(name: str) -> None:
    cases = list(odd_cases(name))
    for number in np.random.default_rng(1).permutation(len(cases))[:12].tolist():
        case, legal = cases[number]
        for config in some(legal, 2, number):
            whole = case.traced(config)
            each = case.traced(config, symbolic=False)
            assert described(whole.program) == described(each.program), (case, config)
            check_counts(whole)
    for case in real_cases(name):
        legal = space(case)
        if legal is not None:
            assert is_whole(case.traced(legal.config(legal.default))), case


def real_cases(name: str) -> Iterator[Case]:
    """A large layer for every device."""
    definition = find(name)
    sizes = dict.fromkeys(definition.dims, 4096) | {"M": 2048, "R": 1280}
    sizes = {dim: sizes[dim] for dim in definition.dims}
    for where in DEVICES:
        for dtype in definition.dtypes:
            yield Case(definition, definition.workload(sizes, dtype), where)


def fits(case: Case, config: Config) -> bool:
    try:
        build(case.traced(config).program, DEVICES[case.device], policy("nki"))
    except CapacityError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_memory_constraints_refuse_nothing_that_fits_and_little_else_passes(name: str) -> None:
    passed = misses = refused = 0
    for case in real_cases(name):
        definition, legal = case.definition, space(case)
        if legal is None:
            continue
        configs = some(legal, 8)
        passed += len(configs)
        misses += sum(not fits(case, config) for config in configs)
        rules = definition.rules
        kept = tuple(c for c in rules.constraints if not names_memory(c))
        wide = space(case, Rules(rules.parameters, kept))
        assert wide is not None
        for config in some(wide, 30):
            if rules.broken(config, legal.scope) is not None:
                refused += 1
                assert not fits(case, config), (case, config)
    assert misses <= passed / 10
    assert refused > 0 or name == THEIRS  # which has an estimate of memory of its own


def names_memory(constraint: Constraint) -> bool:
    return any(name.startswith("device.sbuf") for name in constraint.expr.names)


@pytest.mark.parametrize("name", KERNELS)
def test_one_row_has_a_legal_default_that_runs(name: str) -> None:
    for case in real_cases(name):
        sizes = {**dict(case.workload.sizes), "M": 1}
        one = Case(
            case.definition, case.definition.workload(sizes, case.workload.dtype), case.device
        )
        legal = space(one)
        if legal is not None:
            assert fits(one, legal.config(legal.default)), one


@pytest.mark.parametrize("name", OURS)
def test_defaults_are_the_search_space_s(name: str) -> None:
    definition = find(name)
    signature = inspect.signature(loaded(name).function).parameters
    defaults = {n: p.default for n, p in signature.items() if p.default is not p.empty}
    expected: dict[str, Any] = {p.name: p.default for p in definition.rules.parameters}
    expected |= {variant: words[0] for variant, words in definition.variants.items()}
    assert {key: defaults[key] for key in expected} == expected


@pytest.mark.parametrize("name", KERNELS)
def test_nki_s_compiler_would_take_it(name: str) -> None:
    definition = find(name)
    source = read_kernel(definition.kernel_file, definition.entry)
    (main, *siblings) = source.modules
    assert lint(main[2], main[1], definition.entry, siblings) == []


def kernel_code(name: str) -> list[ast.AST]:
    """Every node of a kernel and its siblings but the numpy reference's."""
    definition = find(name)
    trees = [
        ast.parse(text)
        for _, _, text in read_kernel(definition.kernel_file, definition.entry).modules
    ]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(functions) > 2
    return [n for f in functions if f.name != definition.reference for n in ast.walk(f)]


@pytest.mark.parametrize("name", KERNELS)
def test_source_keeps_to_what_the_nki_compiler_takes(name: str) -> None:
    refused = (ast.Is, ast.IsNot, ast.ListComp, ast.Starred, ast.Lambda, ast.Try)
    for node in kernel_code(name):
        assert not isinstance(node, refused), ast.dump(node)
        if isinstance(node, ast.arguments):
            assert node.vararg is node.kwarg is None
            assert not node.kwonlyargs
        if isinstance(node, ast.Call):
            assert all(keyword.arg is not None for keyword in node.keywords)


@pytest.mark.parametrize("name", KERNELS)
def test_source_names_only_what_nki_has(name: str) -> None:
    modules = {"nl": "nki.language", "nisa": "nki.isa"}
    members = {path.rpartition(".")[2]: those for path, those in OFFICIAL["members"].items()}
    names = {
        module: {*OFFICIAL["functions"][module], *OFFICIAL["others"][module], *members}
        for module in modules.values()
    }
    functions = OFFICIAL["functions"]
    known = functions["nki.isa"] | functions["nki.language"] | OFFICIAL["NkiTensor"]["methods"]
    used = set()
    for node in kernel_code(name):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id != "np", "numpy is not there while a kernel is compiled"
            if node.value.id in modules:
                assert node.attr in names[modules[node.value.id]]
                used.add(node.attr)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute):
            of_enum = members.get(node.value.attr)
            assert of_enum is None or node.attr in of_enum
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            stub = ast.parse(f"def stub({known[node.func.attr]}): ...").body[0]
            assert isinstance(stub, ast.FunctionDef)
            parameters = {argument.arg for argument in stub.args.args}
            assert {keyword.arg for keyword in node.keywords} <= parameters
    assert {"nc_matmul", "dma_copy", "ndarray", "engine"} <= used
