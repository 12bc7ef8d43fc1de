from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

from benchmarks.readme import written
from benchmarks.tables import MODELS, NAME, RESULTS, markdown
from tests.runtime.small_table import TABLE, record
from tuner.job.batches import read_jobs
from tuner.runtime import Table, load
from tuner.space import parse_sizes

SIZES = (1, 128, 512, 2048, 8192, 32768)
DIMS = {"mlp": "MHI", "dense_mlp": "MHI", "rmsnorm_matmul": "MKN"}


def tuned(M: int, config: dict[str, Any], **other: Any) -> dict[str, Any]:
    default = {"tiles": 2, "order": "mn"}
    known = {"error_percent": 7.0, "default_config": default, "roofline_us": 9.0}
    return record(M, config, **{**known, **other})


def opened(folder: Path, *records: dict[str, Any], **other: Any) -> Table:
    path = folder / "t.json"
    path.write_text(json.dumps({**TABLE, "records": records, **other}))
    return load(path)


def test_the_readme_is_what_is_printed_for_the_tables_beside_it() -> None:
    readme = (RESULTS / "README.md").read_text(encoding="utf-8")
    printed = markdown(load(path) for path in sorted(RESULTS.glob("*.json")))
    assert readme == written(readme, printed, NAME), "run python -m benchmarks.tables --write"


def test_the_jobs_are_the_layers_of_the_models() -> None:
    jobs = [each.job for each in read_jobs(RESULTS / "jobs.toml", {}).listed]
    found = [(job.kernel, parse_sizes(str(job.shape))) for job in jobs]
    asked = {
        (kernel, *(sizes[dim] for dim in DIMS[kernel])) for kernel, sizes in found if kernel in DIMS
    }
    layers = itertools.product(DIMS, SIZES, MODELS)
    assert asked == {(kernel, size, *layer) for kernel, size, layer in layers}
    assert {job.dtype for job in jobs} == {"bfloat16"}


def test_the_rank_is_that_of_neuronmm() -> None:
    found = [
        parse_sizes(str(each.job.shape)) for each in read_jobs(RESULTS / "jobs.toml", {}).listed
    ]
    for sizes in (sizes for sizes in found if "H" in sizes and "R" in sizes):
        hidden, inner = int(sizes["H"]), int(sizes["I"])
        blocks = hidden * inner * (1 - 0.2) / ((hidden + inner) * 128)
        assert sizes["R"] == math.floor(blocks + 0.5) * 128


def test_every_workload_is_a_row_with_what_changed(tmp_path: Path) -> None:
    slow = {"default_latency_us": None, "error_percent": None, "roofline_us": None}
    lines = markdown(
        [
            opened(
                tmp_path,
                tuned(1024, {"tiles": 8, "order": "nm"}),
                tuned(512, {"tiles": 2, "order": "mn"}, **slow),
            )
        ]
    ).splitlines()
    assert (
        "| M=1024,N=512 | 20.0 us +- 7 % (simulated) | 10.0 us +- 7 % (simulated) | 2.000x | 90.0% "
        "| tiles=8, order=nm |" in lines
    )
    assert "| M=512,N=512 | failed | 10.0 us (simulated) | - | - | nothing |" in lines


def test_the_summary_has_a_row_for_each_device_and_kernel(tmp_path: Path) -> None:
    config = {"tiles": 2, "order": "mn"}
    table = opened(
        tmp_path,
        tuned(1024, config, default_latency_us=40.0),
        tuned(512, config, default_latency_us=10.0, roofline_us=5.0),
        tuned(512, config, device="trn1", kind="measured"),
    )
    lines = markdown([table]).splitlines()
    assert "| trn2 | copy | 2 | 1 | 2.000x | 4.00x | 70.0% | 90.0% | simulated |" in lines
    assert "| trn1 | copy | 1 | 1 | 2.000x | 2.00x | 90.0% | 90.0% | measured |" in lines


def test_what_the_search_chose_is_counted_for_each_parameter(tmp_path: Path) -> None:
    table = opened(
        tmp_path,
        tuned(1024, {"tiles": 8, "order": "mn"}),
        tuned(2048, {"tiles": 8, "order": "mn"}),
        tuned(512, {"tiles": 2, "order": "mn", "keep": 0}, default_config={"tiles": 2}),
        tuned(512, {"tiles": 4, "order": "mn"}, device="trn1"),
    )
    lines = markdown([table]).splitlines()
    assert "| parameter | default | trn2 | trn1 |" in lines
    assert "| `tiles` | `2` | 2 of 3; `8` in 2 | 1 of 1; `4` in 1 |" in lines
    assert "| `keep` | `0` | 1 of 1; `0` in 1 | - |" in lines


def test_a_parameter_that_stays_at_its_default_has_no_row(tmp_path: Path) -> None:
    text = markdown([opened(tmp_path, tuned(1024, {"tiles": 8, "order": "mn"}))])
    assert "Never another than the default: `order`, `keep`.\n" in text
    text = markdown([opened(tmp_path, tuned(1024, {"tiles": 2, "order": "mn"}))])
    assert "### copy\n\nNever another than the default: `tiles`, `order`, `keep`.\n" in text


def test_each_device_says_how_its_table_was_made(tmp_path: Path) -> None:
    noted = {"trn1": {"rows": 16}, "trn2": {"rows": 16, "note": "be careful"}}
    config = {"tiles": 2, "order": "mn"}
    command = "nki-tuner batch jobs --device trn2 --export t.json"
    text = markdown([opened(tmp_path, tuned(1024, config), devices=noted, command=command)])
    assert f"## trn2\n\n`t.json`, made by `{command}`.\n\nNote: be careful.\n" in text


def test_the_layer_of_a_model_is_named(tmp_path: Path) -> None:
    kernel = {**TABLE["kernels"]["copy"], "dims": ["M", "H", "I"], "constraints": []}
    sizes = {"M": 1, "H": 2560, "I": 9728}
    table = opened(tmp_path, tuned(1, {"tiles": 1}, sizes=sizes), kernels={"copy": kernel})
    assert "| Qwen3-4B | M=1,H=2560,I=9728 |" in markdown([table])


def test_without_a_table_it_says_so() -> None:
    assert markdown([]) == "There is no table yet.\n"
