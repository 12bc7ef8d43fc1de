"""Which loops of a kernel may be recorded once for all their passes, by reading its source.

A loop qualifies when nothing but its index tells one pass from the next: no name, list or attribute
carries a value from pass to pass, nothing leaves the loop early, and every function it calls is
known to change nothing outside itself. Whatever cannot be shown to be so is run pass by pass.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tuner.nki.record.names import Names, names_of

__all__ = ["EACH", "PASSES", "marked"]

PASSES, EACH = "__nki_passes__", "__nki_each__"
"""What loops are rewritten to: `for i in __nki_passes__(n)`, `for x in __nki_each__(items)`."""

_RANGES = {PASSES, "range", "affine_range", "sequential_range", "static_range"}
_MUTATING = {"append", "extend", "insert", "update", "add", "setdefault"}
_REFUSED = (
    ast.Break, ast.Return, ast.Try, ast.TryStar, ast.Yield, ast.YieldFrom, ast.Await, ast.Global,
    ast.Nonlocal, ast.Delete, ast.Match, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef,
    ast.AsyncFor, ast.AsyncWith, ast.Import, ast.ImportFrom, ast.Lambda, ast.Starred,
)  # fmt: skip
_FRESH = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
_NUMBERS = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.Compare)


def marked(tree: ast.Module, siblings: Mapping[str, ast.Module] | None = None) -> ast.Module:
    """Rewrites the loops of a module, in place: those that qualify become symbolic.

    Args:
        tree: The module.
        siblings: The modules it may import from its folder, by name.
    """
    names = names_of(tree, siblings or {})
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for loop in _loops_of(node):
                _mark(loop, names.plain and _qualifies(loop, names))
    return ast.fix_missing_locations(tree)


def _mark(loop: ast.For, qualifies: bool) -> None:
    call = loop.iter
    if qualifies and isinstance(call, ast.Call):
        loop.iter = ast.Call(ast.Name(PASSES, ast.Load()), call.args, [])
    else:
        loop.iter = ast.Call(ast.Name(EACH, ast.Load()), [call], [])
    ast.copy_location(loop.iter, call)


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


def _qualifies(loop: ast.For, names: Names) -> bool:
    if not isinstance(loop.target, ast.Name) or loop.orelse or not _is_range(loop.iter, names):
        return False
    if any(isinstance(node, _REFUSED) for part in loop.body for node in ast.walk(part)):
        return False
    assigned = set(_stores(loop.body))
    state = _State({loop.target.id}, number={loop.target.id})
    return loop.target.id not in assigned and _Scan(names, assigned).run(loop.body, state)


def _stores(body: list[ast.stmt]) -> Iterator[str]:
    """The names that a piece of code assigns, not those of its comprehensions."""
    for part in body:
        own = [id(name) for name in _bound(part)]
        for node in ast.walk(part):
            if isinstance(node, ast.Name) and not _loads(node) and id(node) not in own:
                yield node.id


def _bound(node: ast.AST) -> Iterator[ast.Name]:
    """The names that comprehensions in a piece of code bind: nobody else sees them."""
    for part in ast.walk(node):
        if isinstance(part, ast.comprehension):
            yield from (name for name in ast.walk(part.target) if isinstance(name, ast.Name))


def _is_range(call: ast.expr, names: Names) -> bool:
    if not isinstance(call, ast.Call) or call.keywords or not call.args:
        return False
    if isinstance(call.func, ast.Name):
        known = names.builtins | names.members | {PASSES}  # PASSES: it was rewritten before
        return call.func.id in _RANGES and call.func.id in known
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr in _RANGES
        and _root(call.func) in names.modules
    )


def _root(node: ast.expr) -> str | None:
    """The name that a chain of attributes begins with."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


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
        if isinstance(value, _NUMBERS) or (value is not None and _makes_number(value)):
            self.number.add(name)

    def before_any_pass(self, loop: ast.For | ast.While) -> _State:
        """What holds whenever a loop's body begins, and after the loop, however that is left."""
        kept = self.copy()
        changed = {id(part.target) for part in ast.walk(loop) if isinstance(part, ast.AugAssign)}
        for part in ast.walk(loop):
            if isinstance(part, ast.Name) and not _loads(part) and id(part) not in changed:
                kept.fresh.discard(part.id)
                kept.number.discard(part.id)
        return kept


@dataclass
class _Scan:
    """Follows one pass through a piece of code that assigns the names `assigned`.

    Its methods say whether the code reads only names that this pass has set or that nothing here
    sets, and changes nothing from outside.
    """

    names: Names
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
        head = node.iter if isinstance(node, ast.For) else node.test
        if node.orelse or not self._reads(head, state):
            return False
        after = state.before_any_pass(node)
        state.fresh, state.number = after.fresh, after.number
        inner = state.copy()
        if isinstance(node, ast.For):
            number = ast.Constant(0) if _is_range(node.iter, self.names) else None
            if not self._assign(node.target, number, inner):
                return False
        return self.run(node.body, inner)

    def _assign(self, target: ast.expr, value: ast.expr | None, state: _State) -> bool:
        """Assigns a value, or what is taken from one: None."""
        match target:
            case ast.Name(id=name):
                state.assign(name, value)
                return True
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                if isinstance(value, ast.Tuple) and len(value.elts) == len(parts):
                    return all(map(self._assign, parts, value.elts, [state] * len(parts)))
                return all(self._assign(part, None, state) for part in parts)
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                return name in state.fresh and self._reads(key, state)
            case _:
                return False

    def _augment(self, node: ast.AugAssign, state: _State) -> bool:
        """`+=` of a list changes the list: it must be this pass's own."""
        if not self._reads(node.value, state):
            return False
        match node.target:
            case ast.Name(id=name):
                return name in state.known and name in (state.number | state.fresh)
            case ast.Subscript(value=ast.Name(id=name), slice=key):
                is_number = isinstance(node.value, ast.Constant)  # no list takes one
                return is_number and name in state.fresh and self._reads(key, state)
            case _:
                return False

    def _reads(self, node: ast.expr, state: _State) -> bool:
        bound = {name.id for name in _bound(node)}
        if bound & self.assigned:  # two names in one
            return False
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                if not _loads(part) and part.id not in bound:
                    return False  # :=
                if part.id in self.assigned and part.id not in state.known:
                    return False  # what an earlier pass left there
            elif isinstance(part, ast.Call) and not self._call(part, state):
                return False
        return True

    def _call(self, call: ast.Call, state: _State) -> bool:
        function, names = call.func, self.names
        if isinstance(function, ast.Name):
            name = function.id
            if name in self.assigned:
                return False
            if name in names.functions:
                return _is_pure(name, names)
            if name in names.borrowed:
                return _is_pure(*names.borrowed[name])
            if name in names.builtins:
                return all(keyword.arg not in ("key", None) for keyword in call.keywords)
            return name in names.members or name in (PASSES, EACH)
        if not isinstance(function, ast.Attribute):
            return False
        root = _root(function)
        if root in names.modules | names.foreign:  # before _MUTATING: nl.add changes nothing
            return root in names.modules
        if function.attr in _MUTATING:
            return isinstance(function.value, ast.Name) and function.value.id in state.fresh
        return function.attr in names.methods


def _leaves(body: list[ast.stmt]) -> bool:
    return bool(body) and isinstance(body[-1], ast.Continue | ast.Return)


def _makes_number(value: ast.expr) -> bool:
    return (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("len", "int", "float", "abs", "round", "str", "tuple")
    )


def _is_pure(name: str, names: Names) -> bool:
    """Whether a function of the module changes nothing but what it makes itself."""
    if name not in names.pure:
        names.pure[name] = False  # of a recursive call
        function = names.functions[name]
        refused = tuple(kind for kind in _REFUSED if kind not in (ast.Break, ast.Return))
        inner = [node for part in function.body for node in ast.walk(part)]
        a = function.args
        parameters = {p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)}
        scan = _Scan(names, set(_stores(function.body)) - parameters)
        names.pure[name] = (
            not any(isinstance(node, refused) for node in inner)
            and a.vararg is None
            and a.kwarg is None
            and not function.decorator_list
            and scan.run(function.body, _State(set(parameters)))
        )
    return names.pure[name]
