"""Random small rules, and the brute force that the quick ways are compared with."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from tuner.runtime.expressions import Expression
from tuner.runtime.rules import Config, Constraint, Parameter, Rules, Scope, Value, distance

NAMES = ("p", "q", "r", "s")
WORDS = ("x", "y", "z")
SCOPE: Scope = {"K": 4, "dtype_bytes": 2, "device.banks": 8}


def parameter(name: str, values: list[Value], default: Value, when: str | None = None) -> Parameter:
    return Parameter(name, tuple(values), default, None if when is None else Expression(when))


def rules_of(parameters: list[Parameter], *constraints: str) -> Rules:
    listed = tuple(Constraint(Expression(text), f"because {text}") for text in constraints)
    return Rules(tuple(parameters), listed)


def every_config(rules: Rules, scope: Scope) -> list[Config]:
    """Every completed config, legal or not, each once."""
    names = [p.name for p in rules.parameters]
    configs: list[Config] = []
    for values in itertools.product(*(p.values for p in rules.parameters)):
        config = rules.complete(dict(zip(names, values, strict=True)), scope)
        if config not in configs:
            configs.append(config)
    return configs


def legal_configs(rules: Rules, scope: Scope) -> list[Config]:
    return [config for config in every_config(rules, scope) if rules.broken(config, scope) is None]


def away(rules: Rules, start: Config, config: Config) -> float:
    """The summed distance; a parameter that `start` lacks counts from its default."""
    return sum(
        distance(p, start.get(p.name, p.default), config[p.name])
        for p in rules.parameters
        if p.name in config
    )


@st.composite
def _condition(draw: st.DrawFn, known: dict[str, bool]) -> str:
    """A condition over the `known` parameters (name: whether its values are numbers) and K."""
    terms = ["K", "device.banks"]
    for name, numeric in known.items():
        terms += [name, name] if numeric else [f"2*({name} == '{draw(st.sampled_from(WORDS))}')"]
    left, right = draw(st.sampled_from(terms)), draw(st.sampled_from(terms))
    op = draw(st.sampled_from(("+", "*", "-")))
    compare = draw(st.sampled_from(("<", "<=", ">", ">=", "!=", "==")))
    text = f"{left} {op} {right} {compare} {draw(st.integers(0, 8))}"
    words = [name for name, numeric in known.items() if not numeric]
    if draw(st.booleans()) and words:
        joined = draw(st.sampled_from(("and", "or", "and not", "or not")))
        text += f" {joined} {draw(st.sampled_from(words))} in ('x', 'y')"
    return text


@st.composite
def small_rules(draw: st.DrawFn) -> Rules:
    """Two to four parameters, some with `when`, and up to four constraints."""
    parameters: list[Parameter] = []
    known: dict[str, bool] = {}
    for name in NAMES[: draw(st.integers(2, 4))]:
        numeric = draw(st.booleans())
        pool: st.SearchStrategy[Value] = st.integers(0, 5) if numeric else st.sampled_from(WORDS)
        values = sorted(
            draw(st.lists(pool, min_size=1, max_size=4 if numeric else 3, unique=True)), key=str
        )
        conditional = draw(st.booleans()) and bool(known)
        when = draw(_condition(known)) if conditional else None
        parameters.append(parameter(name, values, draw(st.sampled_from(values)), when))
        known[name] = numeric
    constraints = [draw(_condition(known)) for _ in range(draw(st.integers(0, 4)))]
    return rules_of(parameters, *constraints)


@st.composite
def rules_and_start(draw: st.DrawFn) -> tuple[Rules, Config]:
    """Rules and a config, completed but perhaps illegal."""
    rules = draw(small_rules())
    chosen = {p.name: draw(st.sampled_from(p.values)) for p in rules.parameters}
    return rules, rules.complete(chosen, SCOPE)
