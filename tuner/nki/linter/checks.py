"""The checks: what a kernel reaches, and where it breaks a rule."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from tuner.nki.linter.rules import CREATION, DEPRECATED, ENUMS, REMOVED, RULES, SYNTAX, Finding
from tuner.nki.linter.source import (
    Module,
    Scope,
    is_list,
    is_list_type,
    is_raw,
    keywords,
    wrong_buffer,
)

__all__ = ["Run"]

_BASES = {"NKIObject", "Enum", "IntEnum", "NamedTuple"}
_FLAGS_GONE = {"psumAccumulateFlag": "accumulate="}
_JIT_GONE = {"mode", "platform_target"}


class Run:
    """One run of the linter: what is reached so far and what was found."""

    def __init__(self, siblings: Mapping[str, Module]) -> None:
        self.siblings = siblings
        self.findings: list[Finding] = []
        self.reached: dict[tuple[str, str], Module] = {}

    def report(
        self, module: Module, node: ast.AST, rule: str, name: str = "", instead: str = ""
    ) -> None:
        """Notes a finding at a node; `name` and `instead` fill in the rule's words."""
        known = RULES[rule]
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        message = known.message.replace("{}", name)
        text = known.instead.replace("{}", instead)
        self.findings.append(
            Finding(module.file, line, column, rule, known.severity, message, text)
        )

    def reach(self, module: Module, name: str, root: bool = False) -> None:
        """Checks a function or class of a module, once, and then what it reaches.

        Args:
            module: The file that has it.
            name: Of the function or class.
            root: Whether it is the kernel that was asked for, decorated or not.
        """
        if (module.file, name) in self.reached:
            return
        self.reached[module.file, name] = module
        if name in module.classes:
            self._class(module, module.classes[name])
        else:
            function = module.functions[name]
            if root or module.decorators(function):
                self._signature(module, function)
                self._outputs(module, function)
            self._body(module, function)

    def finish(self) -> None:
        """Reports imports of the old namespace that were used and have no other meaning."""
        for module in {id(m): m for m in self.reached.values()}.values():
            for name in module.used & set(module.imports):
                meant = module.imports[name]
                if all(path.startswith("neuronxcc") for path, _ in meant):
                    self.report(module, meant[0][1], "neuronxcc")

    def _class(self, module: Module, node: ast.ClassDef) -> None:
        bases = [
            b.attr if isinstance(b, ast.Attribute) else getattr(b, "id", "") for b in node.bases
        ]
        if not bases or not set(bases) <= _BASES:
            self.report(module, node, "class-base", node.name)
        for method in node.body:
            if isinstance(method, ast.FunctionDef):
                self._body(module, method)

    def _signature(self, module: Module, function: ast.FunctionDef) -> None:
        arguments = function.args
        for stars, argument in (("", arguments.vararg), ("*", arguments.kwarg)):
            if argument is not None:
                self.report(module, argument, "star-parameters", stars + argument.arg)
        for argument in arguments.kwonlyargs:
            self.report(module, argument, "keyword-only", argument.arg)
        positional = [*arguments.posonlyargs, *arguments.args]
        defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
        for argument, default in zip(positional, defaults, strict=True):
            if is_list(default) or is_list_type(argument.annotation):
                self.report(module, argument, "list-argument", argument.arg)
        for decorator in module.decorators(function):
            call = decorator if isinstance(decorator, ast.Call) else None
            name = module.dotted(call.func if call else decorator)
            module.used |= {n.id for n in ast.walk(decorator) if isinstance(n, ast.Name)}
            if name in REMOVED:
                self.report(module, decorator, "removed", name, REMOVED[name])
            for keyword in call.keywords if call and name == "nki.jit" else ():
                if keyword.arg in _JIT_GONE:
                    why = "NEURON_PLATFORM_TARGET_OVERRIDE in the environment, or nothing"
                    self.report(module, keyword.value, "removed", f"nki.jit({keyword.arg}=)", why)

    def _outputs(self, module: Module, function: ast.FunctionDef) -> None:
        """Reports what is returned and was allocated elsewhere than in shared_hbm."""
        allocations: dict[str, list[ast.Call]] = {}
        stores: dict[str, int] = {}
        returned: list[ast.expr] = []
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                stores[node.id] = stores.get(node.id, 0) + 1
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                if isinstance(node.value, ast.Call):
                    allocations.setdefault(node.targets[0].id, []).append(node.value)
            elif isinstance(node, ast.Return) and node.value is not None:
                value = node.value
                returned += value.elts if isinstance(value, ast.Tuple | ast.List) else [value]
        for value in returned:
            name, calls = "this", [value] if isinstance(value, ast.Call) else []
            if isinstance(value, ast.Name):
                name, calls = value.id, allocations.get(value.id, [])
                if len(calls) != stores.get(name, 0):
                    continue
            wrong = [wrong_buffer(module, call) for call in calls]
            for call, buffer in zip(calls, wrong, strict=True):
                if buffer and all(wrong):
                    said = f"{name} is returned and is in {buffer}"
                    self.report(module, call, "output-buffer", said)

    def _body(self, module: Module, function: ast.FunctionDef) -> None:
        scope = Scope(function)
        for statement in function.body:
            for node in ast.walk(statement):
                self._syntax(module, node)
                self._keys(module, node, scope)
                if isinstance(node, ast.Call):
                    self._call(module, node, scope)
                if isinstance(node, ast.Name | ast.Attribute):
                    self._name(module, node, scope)

    def _syntax(self, module: Module, node: ast.AST) -> None:
        if type(node) in SYNTAX:
            self.report(module, node, SYNTAX[type(node)])
        elif isinstance(node, ast.Compare):
            for operator, right in zip(node.ops, node.comparators, strict=True):
                if isinstance(operator, ast.Is | ast.IsNot):
                    none = isinstance(right, ast.Constant) and right.value is None
                    self.report(module, node, "is-none" if none else "is-operator")
        elif isinstance(node, ast.FunctionDef):
            self.report(module, node, "inner-function", node.name)
        elif isinstance(node, ast.ClassDef):
            self.report(module, node, "inner-class", node.name)
        elif isinstance(node, ast.For | ast.While) and node.orelse:
            self.report(module, node.orelse[0], "loop-else")
        elif isinstance(node, ast.FormattedValue) and node.format_spec is not None:
            self.report(module, node, "format")

    def _keys(self, module: Module, node: ast.AST, scope: Scope) -> None:
        keys: Sequence[ast.expr | None] = ()
        if isinstance(node, ast.Dict):
            keys = node.keys
        elif isinstance(node, ast.DictComp):
            keys = [node.key]
        elif isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            keys = [node.slice] if node.value.id in scope.dictionaries else []
        for key in keys:
            if key is not None and scope.no_string(key):
                self.report(module, key, "dict-key")

    def _call(self, module: Module, node: ast.Call, scope: Scope) -> None:
        name = module.dotted(node.func)
        own = isinstance(node.func, ast.Name) and node.func.id not in module.imports
        if own and getattr(node.func, "id", "") in ("set", "frozenset"):
            self.report(module, node, "set")
        called = node.func.value if isinstance(node.func, ast.Subscript) else node.func
        for target, function in self._targets(module, called, scope):
            if function in target.functions and target.decorators(target.functions[function]):
                self.report(module, node, "nested-kernel", function)
        if any(isinstance(a, ast.Starred) for a in node.args) or None in keywords(node):
            self.report(module, node, "star-call")
        if not name.startswith(("nki.isa.", "nki.language.")):
            return
        for keyword, value in keywords(node).items():
            if keyword == "mask":
                self.report(module, value, "mask")
            elif keyword in _FLAGS_GONE:
                self.report(module, value, "removed", f"{keyword}=", _FLAGS_GONE[keyword])
            elif keyword in ENUMS and is_raw(value):
                said = f"{keyword}={ast.unparse(value)}"
                self.report(module, value, "enum", said, ENUMS[keyword])
        for value in node.args[CREATION[name] : CREATION[name] + 1] if name in CREATION else ():
            if is_raw(value):
                self.report(module, value, "enum", f"buffer={ast.unparse(value)}", ENUMS["buffer"])

    def _name(self, module: Module, node: ast.Name | ast.Attribute, scope: Scope) -> None:
        if isinstance(node, ast.Name):
            module.used.add(node.id)
        name = module.dotted(node)
        for names, rule in ((REMOVED, "removed"), (DEPRECATED, "deprecated-range")):
            if name in names:
                self.report(module, node, rule, name.rpartition(".")[2], names[name])
        for target, reached in self._targets(module, node, scope):
            self.reach(target, reached)

    def _targets(self, module: Module, node: ast.AST, scope: Scope) -> Iterator[tuple[Module, str]]:
        """Yields the function or class of these files that an expression names."""
        here = module.functions.keys() | module.classes.keys()
        if isinstance(node, ast.Name) and node.id in here - scope.names:
            yield module, node.id
            return
        sibling, _, name = module.dotted(node).partition(".")
        if sibling in self.siblings:
            target = self.siblings[sibling]
            if name in target.functions or name in target.classes:
                yield target, name
