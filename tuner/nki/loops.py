"""Which loops of a kernel may be recorded once for all their passes, by reading its source.

A loop qualifies when nothing but its index tells one pass from the next: no name, list or attribute
carries a value from pass to pass, nothing leaves the loop early, and every function it calls is
known to change nothing outside itself. Whatever cannot be shown to be so is run pass by pass.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["EACH", "PASSES", "marked"]

PASSES, EACH = "__nki_passes__", "__nki_each__"
"""What loops are rewritten to: `for i in __nki_passes__(n)`, `for x in __nki_each__(items)`."""

_RANGES = {"range", "affine_range", "sequential_range", "static_range"}
_PURE = set(
    "abs all any bool dict divmod enumerate float int len list max min print range repr reversed"
    " round slice sorted str sum tuple zip".split()
)
_METHODS = set(
    "reshape ap view slice select permute broadcast expand_dim squeeze_dim reshape_dim flatten_dims"
    " rearrange get_pattern items keys values get index count format join startswith endswith".split()
)
_MUTATING = set("append extend insert update add setdefault".split())
_MODULES = ("nki", "neuronxcc", "math")
_REFUSED = (
    ast.Break, ast.Return, ast.Try, ast.TryStar, ast.Yield, ast.YieldFrom, ast.Await, ast.Global,
    ast.Nonlocal, ast.Delete, ast.Match, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef,
    ast.AsyncFor, ast.AsyncWith, ast.Import, ast.ImportFrom, ast.Lambda, ast.Starred,
)  # fmt: skip
_FRESH = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_NUMBERS = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare)


def marked(tree: ast.Module) -> ast.Module:
    """Rewrites the loops of a module, in place: those that qualify become symbolic."""
    module = _module(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for loop in _loops_of(node):
                _mark(loop, _qualifies(loop, module))
    return ast.fix_missing_locations(tree)


def _mark(loop: ast.For, qualifies: bool) -> None:
    call = loop.iter
    if qualifies and isinstance(call, ast.Call):
        loop.iter = ast.Call(ast.Name(PASSES, ast.Load()), call.args, [])
    else:
        loop.iter = ast.Call(ast.Name(EACH, ast.Load()), [call], [])
    ast.copy_location(loop.iter, call)


@dataclass
class _Module:
    """What a module's names mean: known and other modules, names of known ones, own functions."""

    imports: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)
    pure: dict[str, bool] = field(default_factory=dict)


def _module(tree: ast.Module) -> _Module:
    module = _Module()
    assigned: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                known = alias.name.partition(".")[0] in _MODULES
                kind = module.imports if known else module.foreign
                kind.add(alias.asname or alias.name.partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            known = (node.module or "").partition(".")[0] in _MODULES
            submodules = {"isa", "language", "nki", "typing"}
            for alias in node.names:
                kind = module.imports if alias.name in submodules else module.names
                (kind if known else module.foreign).add(alias.asname or alias.name)
        elif isinstance(node, ast.FunctionDef):
            assigned.append(node.name)
            module.functions[node.name] = node
    stored = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and not _loads(n)]
    for name in [*stored, *[n for n in assigned if assigned.count(n) > 1]]:
        module.functions.pop(name, None)  # may mean something else at times
        module.imports.discard(name)
        module.names.discard(name)
    return module


def _loads(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Load)


def _loops_of(function: ast.FunctionDef) -> Iterator[ast.For]:
    """The loops of a function, not those of functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        if isinstance(node, ast.For):
            yield node
        waiting.extend(ast.iter_child_nodes(node))


def _qualifies(loop: ast.For, module: _Module) -> bool:
    if not isinstance(loop.target, ast.Name) or loop.orelse or not _is_range(loop.iter):
        return False
    if any(isinstance(node, _REFUSED) for part in loop.body for node in ast.walk(part)):
        return False
    assigned = {node.id for node in _stores(loop.body)}
    state = _State({loop.target.id}, number={loop.target.id})
    return loop.target.id not in assigned and _Scan(module, assigned).run(loop.body, state)


def _stores(body: list[ast.stmt]) -> Iterator[ast.Name]:
    for part in body:
        for node in ast.walk(part):
            if isinstance(node, ast.Name) and not _loads(node):
                yield node


def _is_range(call: ast.expr) -> bool:
    if not isinstance(call, ast.Call) or call.keywords or not call.args:
        return False
    if PASSES in ast.dump(call.func):  # an inner loop that was rewritten before
        return True
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name in _RANGES


@dataclass
class _State:
    """What is known of names at one place of a pass.

    Attributes:
        known: Set in this pass, whatever way it took.
        fresh: Hold a container made in this pass: it may be changed.
        number: Hold a number, a string or a tuple: `+=` makes a new one.
    """

    known: set[str]
    fresh: set[str] = field(default_factory=set)
    number: set[str] = field(default_factory=set)

    def copy(self) -> _State:
        return _State(set(self.known), set(self.fresh), set(self.number))

    def joined(self, other: _State) -> None:
        """Keeps only what holds here and there."""
        self.known &= other.known
        self.fresh &= other.fresh
        self.number &= other.number

    def assign(self, name: str, value: ast.expr | None) -> None:
        self.known.add(name)
        self.fresh.discard(name)
        self.number.discard(name)
        if isinstance(value, _FRESH):
            self.fresh.add(name)
        if value is None or isinstance(value, _NUMBERS) or _makes_number(value):
            self.number.add(name)


@dataclass
class _Scan:
    """Follows one pass through a piece of code that assigns the names `assigned`.

    Its methods say whether the code reads only names that this pass has set or that nothing here
    sets, and changes nothing from outside.
    """

    module: _Module
    assigned: set[str]

    def run(self, body: list[ast.stmt], state: _State) -> bool:
        return all(self._statement(statement, state) for statement in body)

    def _statement(self, node: ast.stmt, state: _State) -> bool:
        match node:
            case ast.Assign(targets=targets, value=value):
                return self._reads(value, state) and all(
                    self._assign(target, value, state) for target in targets
                )
            case ast.AnnAssign(target=target, value=value):
                return value is None or (
                    self._reads(value, state) and self._assign(target, value, state)
                )
            case ast.AugAssign():
                return self._augment(node, state)
            case ast.If():
                return self._reads(node.test, state) and self._either(node, state)
            case ast.For() | ast.While():
                return self._loop(node, state)
            case ast.With(items=items, body=body):
                return all(
                    item.optional_vars is None and self._reads(item.context_expr, state)
                    for item in items
                ) and self.run(body, state)
            case ast.Expr(value=value):
                return self._reads(value, state)
            case ast.Return(value=value):
                return value is None or self._reads(value, state)
            case ast.Assert(test=test):
                return self._reads(test, state)
            case ast.Raise(exc=exc):
                return exc is None or self._reads(exc, state)
            case _:
                return isinstance(node, ast.Pass | ast.Continue | ast.Break)

    def _either(self, node: ast.If, state: _State) -> bool:
        """Runs both branches; afterwards holds what holds after either that goes on."""
        left, right = state.copy(), state.copy()
        if not (self.run(node.body, left) and self.run(node.orelse, right)):
            return False
        ends = [s for s, b in ((left, node.body), (right, node.orelse)) if not _leaves(b)]
        after = ends[0] if ends else left
        for other in ends[1:]:
            after.joined(other)
        state.known, state.fresh, state.number = after.known, after.fresh, after.number
        return True

    def _loop(self, node: ast.For | ast.While, state: _State) -> bool:
        inner = state.copy()
        head = node.iter if isinstance(node, ast.For) else node.test
        if node.orelse or not self._reads(head, state):
            return False
        if isinstance(node, ast.For) and not self._assign(node.target, None, inner):
            return False
        if not self.run(node.body, inner):
            return False
        state.joined(inner)  # the body may not run at all
        return True

    def _assign(self, target: ast.expr, value: ast.expr | None, state: _State) -> bool:
        match target:
            case ast.Name(id=name):
                state.assign(name, value)
                return True
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                values = value.elts if isinstance(value, ast.Tuple) else [None] * len(parts)
                return len(values) == len(parts) and all(
                    self._assign(part, own, state) if own or value is None else self._unpack(part, state)
                    for part, own in zip(parts, values, strict=True)
                )
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                return name in state.fresh and self._reads(key, state)
            case _:
                return False

    def _unpack(self, target: ast.expr, state: _State) -> bool:
        """Assigns a name what is unpacked from a value of unknown kind."""
        if not isinstance(target, ast.Name):
            return False
        state.assign(target.id, ast.Name(target.id, ast.Load()))
        return True

    def _augment(self, node: ast.AugAssign, state: _State) -> bool:
        target = node.target
        if not self._reads(node.value, state):
            return False
        if isinstance(target, ast.Name):
            return target.id in state.known and target.id in (state.number | state.fresh)
        return self._assign(target, node.value, state)

    def _reads(self, node: ast.expr, state: _State) -> bool:
        bound = {
            name.id
            for part in ast.walk(node)
            if isinstance(part, ast.comprehension)
            for name in ast.walk(part.target)
            if isinstance(name, ast.Name)
        }
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                if not _loads(part) and part.id not in bound:
                    return False  # :=
                if part.id in self.assigned and part.id not in state.known | bound:
                    return False  # what an earlier pass left there
            elif isinstance(part, ast.Call) and not self._call(part, state):
                return False
        return True

    def _call(self, call: ast.Call, state: _State) -> bool:
        function = call.func
        if isinstance(function, ast.Name):
            name = function.id
            if name in self.assigned:
                return False
            if name in self.module.functions:
                return _is_pure(name, self.module)
            return name in self.module.names or name in _PURE or name in (PASSES, EACH)
        if not isinstance(function, ast.Attribute):
            return False
        if function.attr in _MUTATING:
            return isinstance(function.value, ast.Name) and function.value.id in state.fresh
        base: ast.expr = function
        while isinstance(base, ast.Attribute):
            base = base.value
        if isinstance(base, ast.Name) and base.id in self.module.imports | self.module.foreign:
            return base.id in self.module.imports
        return function.attr in _METHODS


def _leaves(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Continue | ast.Return)


def _makes_number(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("min", "max", "len", "int", "float", "abs", "round", "sum", "tuple")
    )


def _is_pure(name: str, module: _Module) -> bool:
    """Whether a function of the module changes nothing but what it makes itself."""
    if name not in module.pure:
        module.pure[name] = True  # of a recursive call
        function = module.functions[name]
        refused = tuple(kind for kind in _REFUSED if kind not in (ast.Break, ast.Return))
        inner = [node for part in function.body for node in ast.walk(part)]
        a = function.args
        parameters = {p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
        scan = _Scan(module, {node.id for node in _stores(function.body)} - parameters)
        module.pure[name] = (
            not any(isinstance(node, refused) for node in inner)
            and a.vararg is None
            and a.kwarg is None
            and not any(isinstance(d, _FRESH) for d in (*a.defaults, *a.kw_defaults))
            and not function.decorator_list
            and scan.run(function.body, _State(set(parameters)))
        )
    return module.pure[name]
