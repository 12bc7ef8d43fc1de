from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from tests.backends.neuron.packages import (
    PLACEHOLDER,
    write_package,
    write_program,
    write_python,
    write_sdk,
)
from tuner.backends.neuron.probe import Package, Probed, ask, family_of, probe


def probed(folder: Path, python: str | None = None) -> Probed:
    """Probes a machine whose AWS folder and product name are in a folder."""
    return probe(python, neuron=folder / "neuron", product_name=folder / "product_name")


def test_a_machine_without_neuron(tmp_path: Path) -> None:
    python = write_python(tmp_path)
    assert probed(tmp_path, python) == Probed(None, None, None, None, None)


def test_packages_are_asked_for_in_the_interpreters_that_use_them(tmp_path: Path) -> None:
    write_package(tmp_path / "a", "nki", "0.6.0", "nki", "print('loading')\njit = None\n")
    write_package(tmp_path / "a", "neuronx-cc", "2.27.5334.0", "neuronxcc")
    write_package(tmp_path / "b", "nrtpy", "2.34.10", "nrtpy", "NrtpyModel = None\n")
    write_package(tmp_path / "b", "spike", "0.1", "spike", "SpikeModel = None\n")
    write_package(tmp_path / "c", "neuronx-cc", "2.23.6484.0", "neuronxcc.nki", "benchmark = 1\n")
    pythons = [write_python(tmp_path, tmp_path / name, f"python-{name}") for name in "abc"]
    folders = (tmp_path / "neuron", tmp_path / "product_name")
    found = probe(pythons[0], pythons[1], pythons[2], *folders)
    assert found == Probed(
        nki=Package("nki", "0.6.0", pythons[0]),
        neuronx_cc=Package("neuronx-cc", "2.27.5334.0", pythons[0]),
        nrtpy=Package("nrtpy", "2.34.10", pythons[1]),
        spike=Package("spike", "0.1", pythons[1]),
        beta1=Package("neuronx-cc", "2.23.6484.0", pythons[2]),
    )
    assert not {"nki", "neuronxcc", "nrtpy", "spike"} & set(sys.modules)


def test_one_interpreter_may_be_all(tmp_path: Path) -> None:
    python = write_python(tmp_path, write_sdk(tmp_path / "packages"))
    found = probed(tmp_path, python)
    assert found.nrtpy == Package("nrtpy", "2.34.10", python)
    assert found.spike is None
    assert found.beta1 is not None
    assert found.beta1.problem.startswith("too new for Beta-1 kernels: ")


def test_placeholders_are_told(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    write_package(packages, "nki", "0.0.1", "nki", PLACEHOLDER)
    write_package(packages, "neuronx-cc", "1.0.post1", "neuronx-cc")
    write_package(packages, "libneuronxla", "1.0", "libneuronxla", PLACEHOLDER)
    write_package(packages, "nkipy", "0.0.2", "nkipy", PLACEHOLDER)
    found = probed(tmp_path, write_python(tmp_path, packages))
    assert [p.name for p in found.placeholders] == ["libneuronxla", "nkipy"]
    bare, folders = write_python(tmp_path / "bare"), (tmp_path / "neuron", tmp_path / "name")
    elsewhere = probe(bare, write_python(tmp_path, packages), None, *folders)
    assert [p.name for p in elsewhere.placeholders] == ["libneuronxla", "nkipy"]
    for package in (found.nki, found.neuronx_cc, found.beta1, *found.placeholders):
        assert package is not None
        assert package.problem.startswith("a placeholder from the public package index; ")


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("jit = None", ""),
        ("pass", "has no nki.jit"),
        ("import neuronxcc", "cannot be imported: No module named 'neuronxcc'"),
        ("raise OSError('libnrt.so:\\n  no such file')", "OSError: libnrt.so: no such file"),
        ("import os; os.kill(os.getpid(), 11)", "its import does not return: killed by SIGSEGV"),
        ("import sys; sys.exit('no device')", "its import does not return: exit code 1: no device"),
        ("import os; os._exit(0)", "its import does not return: ended without an answer"),
    ],
)
def test_what_keeps_a_package_from_use(tmp_path: Path, code: str, problem: str) -> None:
    write_package(tmp_path / "packages", "nki", "0.6.0", "nki", code)
    python = write_python(tmp_path, tmp_path / "packages")
    found = ask(python, "nki", "nki", "jit")
    assert found is not None
    assert found.version == "0.6.0"
    assert found.problem.endswith(problem)
    assert bool(found.problem) == bool(problem)


@pytest.mark.slow
def test_an_import_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    code = "import os, time\nos.fork()\nopen(f'{os.environ[\"PIDS\"]}/{os.getpid()}', 'w')\n"
    write_package(tmp_path / "packages", "nki", "0.6.0", "nki", f"{code}time.sleep(60)\n")
    (tmp_path / "pids").mkdir()
    python = write_program(
        tmp_path / "python",
        f"PIDS='{tmp_path}/pids' PYTHONPATH='{tmp_path}/packages' exec '{sys.executable}' \"$@\"",
    )
    started = time.monotonic()
    found = ask(python, "nki", "nki", "jit", deadline_s=2)
    assert time.monotonic() - started < 20
    assert found is not None
    assert found.problem == "its import does not return: no answer within 2 s"
    pids = [path.name for path in (tmp_path / "pids").iterdir()]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in pids)


def _alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("python", "problem"),
    [
        ("/no/such/python", "cannot be asked: No such file or directory: '/no/such/python'"),
        ("/bin/false", "cannot be asked: exit code 1"),
        ("/bin/true", "cannot be asked: ended without an answer"),
    ],
)
def test_what_is_no_interpreter(python: str, problem: str) -> None:
    assert ask(python, "nki", "nki") == Package("nki", "", python, problem)


def test_names_of_interpreters_hold_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_python(tmp_path / "bin", write_sdk(tmp_path / "packages"))
    monkeypatch.chdir(tmp_path)
    found = probed(tmp_path, "bin/python")
    assert found.nki == Package("nki", "0.6.0", str(tmp_path / "bin" / "python"))


def test_a_machine_is_looked_at_once_a_process(tmp_path: Path) -> None:
    python = write_python(tmp_path, write_sdk(tmp_path / "packages"))
    assert probed(tmp_path, python) is probed(tmp_path, python)


@pytest.mark.parametrize(
    ("script", "cores", "problem"),
    [
        (f"echo '{json.dumps([{'nc_count': 2}, {'nc_count': 8}])}'", 10, ""),
        ("echo '[]'", 0, "neuron-ls lists none"),
        ("echo nothing", 0, "neuron-ls: its output is not a list of devices with nc_count"),
        ("echo '[{}]'", 0, "neuron-ls: its output is not a list of devices with nc_count"),
        ("echo 'no driver' >&2; exit 3", 0, "neuron-ls: exit code 3: no driver"),
        ('[ "$1" = --json-output ] && echo "[]" || exit 1', 0, "neuron-ls lists none"),
    ],
)
def test_cores_are_those_of_neuron_ls(
    tmp_path: Path, script: str, cores: int, problem: str
) -> None:
    write_program(tmp_path / "neuron" / "bin" / "neuron-ls", script)
    found = probed(tmp_path, write_python(tmp_path))
    assert found.cores == cores
    assert found.cores_problem.endswith(problem)
    assert bool(found.cores_problem) == (cores == 0)


def test_tools_are_aws_own_before_those_of_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bins = [tmp_path / "neuron" / "bin", tmp_path / "other"]
    monkeypatch.setenv("PATH", f"{bins[1]}:/usr/bin:/bin")

    def explorer() -> str | None:
        return probed(tmp_path, f"/no/python-{time.monotonic_ns()}").explorer  # looks anew

    assert explorer() is None
    in_order = [(1, "neuron-profile"), (0, "neuron-profile"), (1, "neuron-explorer")]
    for place, name in [*in_order, (0, "neuron-explorer")]:
        tool = write_program(bins[place] / name, "exit 0")
        assert explorer() == tool


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("trn2.48xlarge\n", "trn2"),
        ("trn2u.48xlarge", "trn2"),
        ("trn1n.32xlarge", "trn1"),
        ("inf2.xlarge", "inf2"),
        ("m7i.large", None),
        ("", None),
    ],
)
def test_family(tmp_path: Path, name: str, family: str | None) -> None:
    (tmp_path / "product_name").write_text(name)
    assert family_of(tmp_path / "product_name") == family
    assert probed(tmp_path, write_python(tmp_path)).family == family


def test_the_runtime_library(tmp_path: Path) -> None:
    library = tmp_path / "neuron" / "lib" / "libnrt.so.1"
    library.parent.mkdir(parents=True)
    library.touch()
    assert probed(tmp_path, write_python(tmp_path)).runtime_library == str(library)
