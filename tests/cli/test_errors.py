"""Every bad input: exit code 2, one line on standard error, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.console import Call
from tuner.database import export

MATMUL = "matmul --shape M=256,K=512,N=1024"
TUNE = f"tune {MATMUL} --ray serial --trials 1"
FILE = "measure double.py:double"

BAD = [
    ("tun", "unknown command 'tun'; did you mean tune"),
    ("--fast", "No such option"),
    ("--fast tune", "No such option"),
    (f"{TUNE} --fast", "No such option"),
    ("tune", "Missing argument 'KERNEL'"),
    ("tune matmul", "Missing option '--shape'"),
    (f"{TUNE} more", "unexpected extra argument"),
    ("tune matmull --shape M=1", "unknown kernel 'matmull'; did you mean matmul"),
    ("tune missing.toml --shape M=1", "missing.toml: No such file"),
    ("tune double.py --shape M=1", "double.py"),
    ("tune broken.toml --shape M=1", "broken.toml: "),
    (f"{TUNE} --device trn22", "unknown device 'trn22'; did you mean"),
    (f"{TUNE} --dtype float64", "unknown dtype of matmul: 'float64'"),
    (f"{TUNE} --sampler grid", "unknown sampler 'grid'"),
    (f"{TUNE} --verify some", "unknown choice of verify 'some'"),
    (f"{TUNE} --policy fast", "unknown compiler policy 'fast'"),
    (f"{TUNE} --backend neurone", "unknown backend 'neurone'; did you mean neuron"),
    (f"{TUNE} --backend neuron", "nothing here can time kernels"),
    (f"{TUNE} --trials 0", "trials=0: expected a whole number from 1"),
    (f"{TUNE} --trials many", "'many' is not a valid integer"),
    (f"{TUNE} --seed -1", "seed=-1: expected"),
    (f"{TUNE} --workers 0", "workers=0: expected"),
    (f"{TUNE} --timeout-s nan", "timeout_s=nan: expected"),
    (f"{TUNE} --resume --results empty", "nothing to resume"),
    (f"{TUNE} --results double.py", "double.py/local"),
    ("tune matmul --shape M=256,K=512", "matmul needs a size for N"),
    ("tune matmul --shape M=256,K=512,N=1024,Z=1", "unknown dim or variant of matmul: 'Z'"),
    ("tune matmul --shape 256x512x1024", "'256x512x1024' is not DIM=WHOLE NUMBER"),
    ("tune matmul --shape M=256,K=512,N=-1", "'N=-1' is not DIM=WHOLE NUMBER"),
    ("tune matmul --shape M=256,M=256,K=512,N=1", "M is given twice"),
    ("tune matmul --shape M=256,K=0,N=1", "K=0: expected a whole number from 1"),
    ("tune matmul --shape M=256,K=512,N=99999999999", "is not DIM=WHOLE NUMBER"),
    ("measure matmul", "needs --shape"),
    (f"measure {MATMUL} --param tile_m=1", "unknown parameter 'tile_m'; did you mean tiles_m"),
    (f"measure {MATMUL} --param tiles_m=3", "tiles_m"),
    (f"measure {MATMUL} --param tiles_m=16", "a block of M tiles"),
    (f"measure {MATMUL} --param tiles_m", "expected NAME=VALUE"),
    (f"measure {MATMUL} --param tiles_m=", "expected NAME=VALUE"),
    (f"measure {MATMUL} --param tiles_m=1 --param tiles_m=2", "'tiles_m' is given twice"),
    (f"measure {MATMUL} --arg x=float32[1]", "--arg goes with FILE.py:FUNCTION"),
    (f"measure {MATMUL} --policy fast", "unknown compiler policy 'fast'"),
    (f"{FILE} --shape M=1", "give the tensors with --arg"),
    (FILE, "needs an --arg for each tensor"),
    (f"{FILE} --arg x=float32", "expected something like"),
    (f"{FILE} --arg x=float33[2,2]", "unknown dtype 'float33'; did you mean float32"),
    (f"{FILE} --arg x=float32[2,0]", "a size is outside"),
    (f"{FILE} --arg x=float32[2,2] --arg x=float32[2,2]", "given twice"),
    (f"{FILE} --arg y=float32[2,2]", "double.py:double on trn2: compile: the kernel cannot be"),
    (f"{FILE} --arg x=float32[64,64] --param fault=rows", "compile: shape [129, 8]"),
    (f"{FILE} --arg x=float32[64,64] --device gpu", "unknown device 'gpu'"),
    ("measure double.py:doubel --arg x=float32[2,2]", "'doubel'; did you mean double"),
    ("measure missing.py:double --arg x=float32[2,2]", "missing.py: No such file"),
    ("measure broken.py:double --arg x=float32[2,2]", "broken.py: not a Python file"),
    ("measure raising.py:double --arg x=float32[2,2]", "raising.py: cannot be loaded: OSError"),
    ("verify matmul", "needs --shape"),
    (f"verify {MATMUL} --param buffers=9", "buffers"),
    (f"verify {MATMUL} --policy nki", "No such option"),
    ("show nowhere", "no results in 'nowhere'"),
    ("best nowhere", "no results in 'nowhere'"),
    ("export nowhere -o t.json", "no results in 'nowhere'"),
    ("show tuned --study 9", "no study matches study=9 (there is: double M=256,N=512 trn1;"),
    ("show tuned --study nine", "'nine' is not a valid integer"),
    ("show tuned --shape M", "'M' is not DIM=WHOLE NUMBER"),
    ("best tuned --kernel matmul", "no study matches kernel=matmul"),
    ("best tuned --device trn3", "no study matches device=trn3"),
    ("show double.py", "no results in 'double.py'"),
    ("show scrambled", "file is not a database"),
    ("export tuned", "Missing option '-o'"),
    ("export tuned -o nowhere/t.json", "nowhere/t.json: No such file or directory"),
    ("export tuned -o scrambled", "scrambled: Is a directory"),
    ("lookup missing.json double --shape M=1,N=1", "missing.json: No such file"),
    ("lookup double.py double --shape M=1,N=1", "double.py: not a JSON table"),
    ("lookup broken.json double --shape M=1,N=1", "not a table of nki-tuner"),
    ("lookup . double --shape M=1,N=1", "Is a directory"),
    ("lookup table.json doubel --shape M=1,N=1", "unknown kernel 'doubel'; did you mean double"),
    ("lookup table.json double --shape M=1", "double needs a size for N"),
    ("lookup table.json double --shape M=1,N=1,K=1", "unknown dim of double: 'K'"),
    ("lookup table.json double --shape M=1,N=1,dtype=1", "unknown dim of double: 'dtype'"),
    ("lookup table.json double --shape M=1,N=1,kernel=1", "unknown dim of double: 'kernel'"),
    ("lookup table.json double --shape M=1,N=1,self=1", "unknown dim of double: 'self'"),
    ("lookup table.json double --shape M=1,N=1,max_distance=9", "unknown dim of double"),
    ("lookup table.json other --shape kernel=1", "unknown kernel 'other'"),
    ("lookup table.json double --shape M=1,N=0", "N=0"),
    ("lookup table.json double --shape M=1,N=64 --dtype int8", "unknown dtype 'int8'"),
    ("lookup table.json double --shape M=1,N=64 --device trn9", "unknown device 'trn9'"),
    ("lookup table.json double --shape M=1,N=64", "several devices, give device="),
    ("batch", "Missing argument 'JOBS'"),
    ("batch missing.toml", "missing.toml: No such file"),
    ("batch double.py", "double.py: "),
    ("batch double.toml", "unknown table in double.toml: 'kind'"),
    ("check missing.json", "missing.json: No such file"),
    ("check double.py", "double.py: not a JSON table"),
    ("check broken.json", "not a table of nki-tuner"),
    ("devices trn9", "unknown device 'trn9'"),
    ("spaces matmull", "unknown kernel 'matmull'; did you mean matmul"),
    ("spaces matmul --shape M=1", "matmul needs a size for K, N"),
    (f"spaces {MATMUL} --device trn9", "unknown device 'trn9'"),
    (f"spaces {MATMUL} --dtype int32", "unknown dtype of matmul: 'int32'"),
]


@pytest.fixture(scope="module")
def folder(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with good and bad files."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tuned").symlink_to(results)
    for name in ("double.py", "double.toml"):
        (folder / name).write_text((results.parent / name).read_text())
    export(results, folder / "table.json")
    (folder / "broken.json").write_text("[]")
    (folder / "broken.toml").write_text("kind = kernel\n")
    (folder / "broken.py").write_text("def double(x)\n")
    (folder / "raising.py").write_text("def double(x): pass\nraise OSError('two\\nlines')\n")
    (folder / "scrambled" / "local").mkdir(parents=True)
    (folder / "scrambled" / "local" / "nki-tuner.sqlite3").write_text("no database" * 99)
    return folder


@pytest.fixture
def call_there(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(folder)
    return call


@pytest.mark.parametrize(("line", "message"), BAD, ids=[line for line, _ in BAD])
def test_bad_input_is_one_line_and_exit_code_2(call_there: Call, line: str, message: str) -> None:
    said = call_there(*line.split())
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert message in said.err
