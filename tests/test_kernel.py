from __future__ import annotations

import importlib
import inspect
import linecache
import pickle
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import tuner.nki
from tuner.kernel import KernelSource, LoadedKernel, load_kernel, read_kernel
from tuner.neuroncore import device
from tuner.nki.record.tracing import Trace, trace
from tuner.runtime.errors import TunerError
from tuner.space import Argument

KERNEL = '''"""A kernel that copies."""

import nki
import nki.language as nl
from nki import isa as nisa


@nki.jit
def copy(x, scale=1.0):
    """Copies x."""
    out = nl.ndarray(x.shape, dtype=x.dtype, buffer=nl.shared_hbm)
    t = nl.ndarray(x.shape, dtype=x.dtype)
    nisa.dma_copy(t, x)
    nisa.dma_copy(out, t)
    return out
'''


WITH_HELPER = KERNEL.replace("import nki\n", "import helper\nimport nki\n")


def lendable() -> dict[str, ModuleType]:
    """What the import system has under names that a kernel may be lent."""
    roots = {"nki", "helper", "late", "first", "second", "_nki_kernel"}
    return {name: m for name, m in sys.modules.items() if name.partition(".")[0] in roots}


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    modules, finders = lendable(), list(sys.meta_path)
    yield
    assert lendable() == modules
    assert sys.meta_path == finders


def write(folder: Path, **texts: str) -> Path:
    """Writes modules into a folder; returns the path of `kernel.py`."""
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "kernel.py"


def loaded(folder: Path, entry: str = "copy", **texts: str) -> LoadedKernel:
    return load_kernel(read_kernel(write(folder, **texts), entry))


def value(kernel: LoadedKernel, name: str) -> Any:
    return kernel.attribute(name)


def run(kernel: LoadedKernel) -> Trace:
    with kernel.lent():
        return trace(kernel.function, [Argument("x", (8, 8), "float32")], {}, device("trn2"))


def test_loads_and_runs_against_the_simulated_nki(tmp_path: Path) -> None:
    kernel = loaded(tmp_path, kernel=KERNEL)
    assert run(kernel).outputs == (((8, 8), "float32"),)
    program = run(kernel).program
    assert [program.sites[s].place for s in program.site] == [
        "argument",
        "kernel.py:11",
        "kernel.py:12",
    ]
    assert [program.lines[line] for line in program.line_of] == ["kernel.py:13", "kernel.py:14"]


def test_nothing_stays_in_sys_modules(tmp_path: Path) -> None:
    kernel = loaded(tmp_path, kernel=WITH_HELPER, helper="import nki.isa")
    assert lendable() == {}
    run(kernel)
    assert lendable() == {}


@pytest.mark.parametrize("broken", ["raise OSError", "    raise OSError", "import nki.nothing"])
def test_a_real_nki_stays_also_when_the_kernel_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    real = {name: ModuleType(name) for name in ("nki", "nki.language", "nki.typing", "helper")}
    for name, module in real.items():
        monkeypatch.setitem(sys.modules, name, module)
    text = WITH_HELPER.replace("    return out", broken)
    with pytest.raises((OSError, ImportError)):
        run(loaded(tmp_path, kernel=text, helper="import nki.language as nl"))
    assert lendable() == real


def test_parts_of_nki_that_are_not_simulated_cannot_be_imported(tmp_path: Path) -> None:
    with pytest.raises(
        ModuleNotFoundError, match=r"nki\.compiler is not part of the simulated NKI"
    ):
        loaded(tmp_path, kernel="import nki.compiler\n" + KERNEL)


def test_the_simulated_modules_keep_their_own_specs(tmp_path: Path) -> None:
    run(loaded(tmp_path, kernel=KERNEL))
    for module in (tuner.nki, tuner.nki.language, tuner.nki.isa):
        assert module.__spec__ is not None
        assert module.__spec__.name == module.__name__


def test_imports_inside_functions_work_while_tracing(tmp_path: Path) -> None:
    imports = ["import late", "import nki.language as other", "assert other is nl is late.nl"]
    text = KERNEL.replace("    out =", "".join(f"    {line}\n" for line in imports) + "    out =")
    kernel = loaded(tmp_path, kernel=text, late="import nki.language as nl")
    assert len(run(kernel).program) == 2
    assert lendable() == {}


def test_siblings_are_found_beside_the_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = write(tmp_path / "elsewhere", helper="WHERE = 'elsewhere'").parent
    monkeypatch.chdir(elsewhere)
    monkeypatch.syspath_prepend(str(elsewhere))
    helper = importlib.import_module("helper")
    text = "import helper\nWHERE = helper.WHERE\n" + KERNEL
    kernel = loaded(tmp_path / "kernels", kernel=text, helper="WHERE = 'beside'")
    assert value(kernel, "WHERE") == "beside"
    assert sys.modules.pop("helper") is helper
    assert helper.WHERE == "elsewhere"


def test_siblings_import_siblings_once(tmp_path: Path) -> None:
    kernel = loaded(
        tmp_path,
        kernel="from first import LIST\nimport second\nSAME = LIST is second.LIST\n" + KERNEL,
        first="from second import LIST",
        second="LIST = []",
    )
    assert [name for name, _, _ in kernel.source.modules] == ["_nki_kernel", "first", "second"]
    assert value(kernel, "SAME") is True


def test_siblings_may_import_each_other(tmp_path: Path) -> None:
    kernel = loaded(
        tmp_path,
        kernel="import first\nVALUE = first.value()\n" + KERNEL,
        first="import second\ndef value(): return second.value()",
        second="import first\ndef value(): return first.__name__",
    )
    assert value(kernel, "VALUE") == "_nki_kernel.first"


def test_kernels_do_not_share_siblings_of_one_name(tmp_path: Path) -> None:
    text = "import helper\ndef where():\n    import helper as late\n    return helper.N, late.N\n"
    kernels = [loaded(tmp_path / str(n), kernel=text + KERNEL, helper=f"N = {n}") for n in range(2)]
    for n, kernel in enumerate(kernels):
        with kernel.lent():
            assert kernel.attribute("where")() == (n, n)


def test_dataclasses_with_postponed_annotations(tmp_path: Path) -> None:
    lines = ["from __future__ import annotations", "from dataclasses import dataclass"]
    outside = ["@dataclass", "class Tile:", "    size: int = 3", ""]
    inside = ["def make():", *(f"    {line}" for line in outside), "    return Tile()", ""]
    text = "\n".join([*lines, *outside, *inside])
    kernel = loaded(tmp_path, kernel=text + KERNEL)
    with kernel.lent():
        assert value(kernel, "make")().size == value(kernel, "Tile")().size == 3


def test_a_worker_needs_the_text_only(tmp_path: Path) -> None:
    text = WITH_HELPER.replace("return out", "helper.fail()")
    path = write(tmp_path, kernel=text, helper="def fail():\n    raise ValueError('here')")
    sent = pickle.dumps(read_kernel(path, "copy"))
    path.write_text("# another kernel by now\n" * 20)
    (tmp_path / "helper.py").unlink()
    linecache.clearcache()

    kernel = load_kernel(pickle.loads(sent))
    with pytest.raises(ValueError, match="here") as caught:
        run(kernel)
    shown = "".join(traceback.format_exception(caught.value))
    assert f'File "{path}", line 16, in copy\n    helper.fail()\n' in shown
    assert f'File "{tmp_path / "helper.py"}", line 2, in fail\n    raise ValueError' in shown
    assert '"""Copies x."""' in inspect.getsource(kernel.function)


def test_two_loads_have_their_own_globals(tmp_path: Path) -> None:
    source = read_kernel(write(tmp_path, kernel="STATE = []\n" + KERNEL), "copy")
    one, two = load_kernel(source), load_kernel(source)
    assert one.attribute("STATE") is not two.attribute("STATE")


def hash_of(folder: Path, entry: str = "copy", **texts: str) -> str:
    return read_kernel(write(folder, **texts), entry).kernel_hash


BASE = {"kernel": WITH_HELPER, "helper": "def double(x):\n    return 2 * x\n"}


def changed(*changes: tuple[str, str, str]) -> Iterator[dict[str, str]]:
    for module, old, new in changes:
        assert old in BASE[module]
        yield {**BASE, module: BASE[module].replace(old, new)}


def test_hash_ignores_comments_docstrings_and_layout(tmp_path: Path) -> None:
    for texts in changed(
        ("kernel", "out = nl", "out  =  nl"),
        ("kernel", '    """Copies x."""\n', ""),
        ("kernel", '"""A kernel that copies."""', '"""A kernel."""'),
        ("kernel", "    t =", "    # a comment\n\n    t ="),
        ("helper", "def double(x):\n", "def double(x):  # twice\n    '''Doubles.'''\n\n"),
    ):
        assert hash_of(tmp_path / "other", **texts) == hash_of(tmp_path / "base", **BASE)


def test_hash_follows_the_code(tmp_path: Path) -> None:
    for texts in changed(
        ("kernel", "scale=1.0", "scale=2.0"),
        ("kernel", "nisa.dma_copy(out, t)", "nisa.dma_copy(out, x)"),
        ("helper", "2 * x", "3 * x"),
        ("helper", "return 2", "'no docstring' + x\n    return 2"),
    ):
        assert hash_of(tmp_path / "other", **texts) != hash_of(tmp_path / "base", **BASE)


def test_hash_follows_the_entry(tmp_path: Path) -> None:
    both = {"kernel": KERNEL + KERNEL.replace("def copy", "def copy2")}
    assert hash_of(tmp_path, **both) != hash_of(tmp_path, entry="copy2", **both)


def test_hash_is_the_same_in_every_version_of_python(tmp_path: Path) -> None:
    text = 'def copy(x, *, y=None) -> int:\n    return [x, "a", 1.5]\n'
    assert hash_of(tmp_path, kernel=text) == "7c32b6c061122bc0"


def test_unknown_function_names_the_nearest(tmp_path: Path) -> None:
    path = write(tmp_path, kernel=KERNEL)
    with pytest.raises(TunerError) as caught:
        read_kernel(path, "cpoy")
    assert str(caught.value) == (
        f"unknown function in {path}: 'cpoy'; did you mean copy? (known: copy)"
    )
    with pytest.raises(TunerError, match=r"unknown function in .*'copy_reference'"):
        load_kernel(read_kernel(path, "copy")).attribute("copy_reference")


@pytest.mark.parametrize(
    ("text", "message"),
    [("def copy(x:\n", r"kernel.py: not a Python file"), ("\0", "kernel.py: not a Python file")],
)
def test_file_that_is_no_python(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TunerError, match=message):
        read_kernel(write(tmp_path, kernel=text), "copy")


def test_wrong_sibling_is_named(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"helper\.py: not a Python file"):
        read_kernel(write(tmp_path, kernel=WITH_HELPER, helper="def"), "copy")


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TunerError, match=r"kernel\.py: No such file or directory"):
        read_kernel(tmp_path / "kernel.py", "copy")
    (tmp_path / "kernel.py").write_bytes(b"\xff = 1")
    with pytest.raises(TunerError, match=r"kernel\.py: not a text file"):
        read_kernel(tmp_path / "kernel.py", "copy")


def test_source_is_a_value(tmp_path: Path) -> None:
    path = write(tmp_path, kernel=KERNEL)
    source = read_kernel(str(path), "copy")
    assert source == KernelSource(str(path), "copy", (("_nki_kernel", str(path), KERNEL),))
    assert pickle.loads(pickle.dumps(source)) == source


@pytest.mark.parametrize("line", ["from . import tl", "from .tl import a", "import helpers.tl"])
def test_what_is_no_single_file_beside_the_kernel_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").touch()
    (tmp_path / "k.py").write_text(f"{line}\n\ndef k(x):\n    return x\n")
    with pytest.raises(TunerError, match="a kernel imports single files beside it"):
        read_kernel(tmp_path / "k.py", "k")
