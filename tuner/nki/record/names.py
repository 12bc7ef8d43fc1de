"""What the names of a kernel's module mean, wherever in the module they are used."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

__all__ = ["Names", "names_of"]

_KNOWN_MODULES = {"nki", "neuronxcc", "math"}
_HARMLESS_MODULES = {
    "__future__", "argparse", "dataclasses", "enum", "functools", "itertools", "logging", "numpy",
    "os", "pathlib", "sys", "time", "typing", "warnings",
}  # fmt: skip
"""What is called of these ends a whole loop, but to import them does not."""
_SUBMODULES = {"isa", "language", "nki", "typing"}
_BUILTINS = {
    "abs", "all", "any", "bool", "dict", "divmod", "enumerate", "float", "int", "len", "list",
    "max", "min", "range", "reversed", "round", "slice", "sorted", "str", "sum", "tuple", "zip",
    "Exception", "IndexError", "NotImplementedError", "RuntimeError", "TypeError", "ValueError",
}  # fmt: skip
_METHODS = {
    "reshape", "ap", "view", "slice", "select", "permute", "broadcast", "expand_dim",
    "squeeze_dim", "reshape_dim", "flatten_dims", "rearrange", "get_pattern", "items", "keys",
    "values", "get", "index", "count", "format", "join", "startswith", "endswith",
}  # fmt: skip
_BACK_DOORS = {"globals", "locals", "vars", "exec", "eval", "setattr", "delattr", "__builtins__"}
_SPECIAL_METHODS = {"__init__", "__post_init__", "__repr__"}
_BASES = {"object", "NamedTuple", "Enum", "IntEnum", "Exception", "ValueError"}
_ITERATORS = {"iter", "zip", "enumerate", "reversed", "map", "filter"}
_CONSUMERS = _ITERATORS | {
    "list", "tuple", "set", "dict", "sum", "min", "max", "any", "all", "sorted",
}  # fmt: skip


@dataclass
class Names:
    """What a module's names mean; a name that may mean something else at times is left out.

    Attributes:
        modules: Modules of NKI, and math.
        members: Names imported from those.
        foreign: Other modules, and names imported from them.
        functions: The module's own functions.
        borrowed: Functions imported from a sibling: (name there, what the sibling's names mean).
        builtins: Python's functions that change nothing.
        methods: Methods that change nothing, whatever object they are called on.
        plain: Whether the module keeps to what can be followed by reading it: no generators, no
            iterators in variables, no global or nonlocal names, no classes with special methods.
        pure: Of own functions already looked at, whether they change nothing outside.
    """

    modules: set[str]
    members: set[str]
    foreign: set[str]
    functions: dict[str, ast.FunctionDef]
    borrowed: dict[str, tuple[str, Names]]
    builtins: set[str]
    methods: set[str]
    plain: bool
    pure: dict[str, bool] = field(default_factory=dict)


def names_of(
    tree: ast.Module, siblings: Mapping[str, ast.Module], own: Set[str] = frozenset()
) -> Names:
    """Returns what the names of a module mean.

    Args:
        tree: The module.
        siblings: The modules it may import from its folder, by name.
        own: Names of methods that classes elsewhere have.
    """
    tree = _without_main(tree)
    meanings: dict[str, set[str]] = defaultdict(set)
    functions: dict[str, ast.FunctionDef] = {}
    for name, meaning in _bindings(tree, set(siblings)):
        meanings[name].add(meaning)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            if node.name in functions:
                meanings[node.name].add("other")
            functions[node.name] = node

    def named(meaning: str) -> set[str]:
        return {name for name, found in meanings.items() if found == {meaning}}

    trees = [tree, *map(_without_main, siblings.values())]
    methods = [f for part in trees for c in _classes(part) for f in c.body]
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    own = own | {f.name for f in methods if isinstance(f, kinds)}
    return Names(
        modules=named("module"),
        members=named("member"),
        foreign=named("foreign") | named("stranger") | named("borrowed"),
        functions={name: functions[name] for name in named("function") if name in functions},
        borrowed=_borrowed(tree, siblings, named("borrowed"), own),
        builtins=_BUILTINS - set(meanings),
        methods=_METHODS - own,
        plain=not named("stranger") and all(_is_plain(part) for part in trees),
    )


def _borrowed(
    tree: ast.Module, siblings: Mapping[str, ast.Module], names: set[str], own: Set[str]
) -> dict[str, tuple[str, Names]]:
    """The functions among `names` that a module imports from its siblings, where these can be
    followed by reading them.
    """
    found: dict[str, tuple[str, Names]] = {}
    for node in ast.walk(tree):
        sibling = (node.module or "") if isinstance(node, ast.ImportFrom) and not node.level else ""
        if isinstance(node, ast.ImportFrom) and sibling in siblings:
            others = {name: text for name, text in siblings.items() if name != sibling}
            theirs = names_of(siblings[sibling], others, own)
            for alias in node.names:
                name = alias.asname or alias.name
                if name in found:
                    names = names - {name}
                found[name] = (alias.name, theirs)
    return {
        name: (there, theirs)
        for name, (there, theirs) in found.items()
        if name in names and theirs.plain and there in theirs.functions
    }


def _without_main(tree: ast.Module) -> ast.Module:
    """A module as it is where it is imported: without what it does as a script."""
    script = ast.dump(ast.parse('__name__ == "__main__"', mode="eval").body)
    body = [n for n in tree.body if not (isinstance(n, ast.If) and ast.dump(n.test) == script)]
    return ast.Module(body, [])


def _bindings(tree: ast.Module, siblings: set[str]) -> Iterator[tuple[str, str]]:
    """Yields every name that is bound anywhere in a module, and what to.

    To a module, a member of one, a member or module of a harmless one (foreign) or of one that
    nobody knows (stranger), a member of a sibling (borrowed), a function of the module, or to
    something else.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                for alias in aliases:
                    kind = _kind(alias.name, siblings)
                    yield alias.asname or alias.name.partition(".")[0], kind or "module"
            case ast.ImportFrom(module=module, names=aliases, level=level):
                kind = "stranger" if level else _kind(module or "", siblings)
                for alias in aliases:
                    known = "module" if alias.name in _SUBMODULES else "member"
                    borrowed = "borrowed" if (module or "") in siblings and not level else ""
                    yield alias.asname or alias.name, borrowed or kind or known
            case ast.FunctionDef(name=name):
                yield name, "function" if node in tree.body else "other"
            case ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name, "other"
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name, "other"
            case (
                ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
                | ast.MatchStar(name=str(name))
                | ast.MatchMapping(rest=str(name))
            ):
                yield name, "other"


def _kind(module: str, siblings: set[str]) -> str:
    """What is imported from a module: "" where it is a known one."""
    root = module.partition(".")[0]
    if root in siblings:
        return "foreign"
    if root in _KNOWN_MODULES:
        return ""
    return "foreign" if root in _HARMLESS_MODULES else "stranger"


def _is_plain(tree: ast.Module) -> bool:
    consumed = {id(node) for node in _consumed(tree)}
    used_up = {
        id(node.func.value)
        for node in _consumed(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Global() | ast.Nonlocal() | ast.Yield() | ast.YieldFrom():
                return False
            case ast.alias(name="*") | ast.ImportFrom(module="itertools"):
                return False
            case ast.alias(name="itertools", asname=str()):
                return False
            case ast.Name(id="itertools") if id(node) not in used_up:
                return False
            case ast.Name(id=name) if name in _BACK_DOORS:
                return False
            case ast.ClassDef() if not _is_plain_class(node):
                return False
            case ast.Attribute(value=base, ctx=ast.Store() | ast.Del()):
                if not (isinstance(base, ast.Name) and base.id == "self"):
                    return False
            case ast.Call(func=ast.Name(id="type"), args=[_, _, *_]):
                return False
            case ast.GeneratorExp() if id(node) not in consumed:
                return False
            case ast.Call(func=ast.Name(id=name)) if name in _ITERATORS:
                if id(node) not in consumed:
                    return False
    return True


def _consumed(tree: ast.Module) -> Iterator[ast.AST]:
    """What is iterated over where it stands: nobody else can go on with it."""
    for node in ast.walk(tree):
        match node:
            case ast.For(iter=iterable) | ast.comprehension(iter=iterable):
                yield iterable
            case ast.Call(func=ast.Name(id=name), args=arguments) if name in _CONSUMERS:
                yield from arguments
            case ast.Call(func=ast.Attribute(attr="join"), args=arguments):
                yield from arguments
            case ast.Assign(targets=[ast.Tuple() | ast.List()], value=value):
                yield value


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def _is_plain_class(node: ast.ClassDef) -> bool:
    """Whether nothing but a call of its methods runs its code."""
    names = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
    return (
        set(names) <= _BASES
        and not node.keywords
        and all(_makes_dataclass(decorator) for decorator in node.decorator_list)
        and all(
            isinstance(part, ast.Expr | ast.Pass)
            or (isinstance(part, ast.AnnAssign) and _is_default(part.value))
            or (isinstance(part, ast.Assign) and isinstance(part.value, ast.Constant | ast.Tuple))
            or (
                isinstance(part, ast.FunctionDef)
                and not part.decorator_list
                and (not part.name.startswith("__") or part.name in _SPECIAL_METHODS)
            )
            for part in node.body
        )
    )


def _makes_dataclass(decorator: ast.expr) -> bool:
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name == "dataclass"


def _is_default(value: ast.expr | None) -> bool:
    """Whether a field's default runs no code when it is read."""
    return (
        value is None
        or isinstance(value, ast.Constant | ast.Tuple)
        or (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id in ("field", "auto")
        )
    )
