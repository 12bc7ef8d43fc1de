"""Compiles a kernel to a NEFF with AWS's `nki`; runs in an interpreter that has it.

A script of its own: that interpreter has neither this package nor, maybe, this version of Python.
Usage: python compile_child.py FOLDER. Leaves FOLDER/kernel.neff and FOLDER/answer.json. The job's
route is "documented", or one of the private interfaces below; "list" says which of those there are.

The documented route is to call the kernel with numpy arrays while NKI_ARTIFACTS_DIR is set: that
compiles and runs it, and the NEFF stays where the run fails. The private interfaces only compile;
they moved from release to release, and none of this could be tried with the real package.
"""

from __future__ import annotations

import inspect
import os
import traceback
from typing import Any

import child_tools  # type: ignore[import-not-found]

NEFF = "kernel.neff"


def work(folder: str, job: dict[str, Any]) -> dict[str, Any]:
    """Lists the private interfaces, or compiles."""
    if job["route"] == "list":
        return {"routes": [name for name, there in ROUTES.items() if _imports(there[0])]}
    os.environ["NKI_ARTIFACTS_DIR"] = folder  # before nki is imported
    import nki

    kernel = getattr(child_tools.load_module(folder, job), job["entry"])
    if inspect.isfunction(kernel):
        kernel = nki.jit(kernel)
    arrays = child_tools.zeros(job["arguments"])
    if job["route"] != "documented":
        ROUTES[job["route"]][1](folder, job, kernel, arrays)
        return {"ran": False}
    positional = [arrays.pop(name) for name in job["positional"]]
    try:
        kernel[job["lnc"]](*positional, **arrays, **job["config"])
    except Exception as error:
        if not os.path.exists(os.path.join(folder, NEFF)):
            raise
        traceback.print_exc()  # it was compiled, and could not be run: there may be no device
        return {"ran": False, "error": f"{type(error).__name__}: {error}"}
    return {"ran": True}


def _imports(names: list[str]) -> bool:
    """Whether all of "module:attribute" can be imported."""
    try:
        for name in names:
            module, _, attribute = name.partition(":")
            getattr(__import__(module, fromlist=[attribute]), attribute)
    except (ImportError, AttributeError):
        return False
    return True


def _through_framework(
    folder: str, job: dict[str, Any], kernel: Any, arrays: dict[str, Any]
) -> None:
    """EXPERIMENTAL: the interfaces that `CompileKernel` of nki 0.5 and 0.6 is made of."""
    from nki.compiler.driver import _compile_bir_to_neff
    from nki.framework.compiled import CompileKernel, compile_kernel_to_nir

    compiler = CompileKernel(
        func=getattr(kernel, "func", kernel),
        lnc=job["lnc"],
        target=job["target"],
        artifacts_dir=folder,
    )
    options = compiler._compile_opts()
    inputs = {**arrays, **job["config"]}
    lowered = compile_kernel_to_nir(kernel[job["lnc"]], inputs=inputs, compile_opts=options)
    _take(folder, _compile_bir_to_neff(lowered, options, inputs))


def _through_driver(folder: str, job: dict[str, Any], kernel: Any, arrays: dict[str, Any]) -> None:
    """EXPERIMENTAL: `nki.compiler.ncc_driver` of nki 0.6."""
    from nki.compiler.ncc_driver import CompileOptions, compile_bir_to_neff
    from nki.framework.compiled import compile_kernel_to_nir

    options = CompileOptions(
        target=job["target"],
        lnc=job["lnc"],
        artifacts_dir=folder,
        output_path=os.path.join(folder, NEFF),
    ).disable_backend_optimizations()  # as nki.jit does
    lowered = compile_kernel_to_nir(
        kernel[job["lnc"]],
        inputs={**arrays, **job["config"]},
        compile_opts=options,
        enable_cache=False,
    )
    compiled = compile_bir_to_neff(
        options,
        lowered,
        input_arrays=[],
        argument_names=[spec.name for spec in lowered.descriptor.input_specs],
        output_arg_names=[spec.name for spec in lowered.descriptor.output_specs],
    )
    _take(folder, compiled)


def _take(folder: str, compiled: Any) -> None:
    """Copies a NEFF that was written elsewhere to where it is looked for."""
    wanted, there = os.path.join(folder, NEFF), str(getattr(compiled, "neff_path", ""))
    if not os.path.exists(wanted) and there:
        with open(there, "rb") as source, open(wanted, "wb") as target:
            target.write(source.read())


_LOWERING = ["nki.framework.compiled:compile_kernel_to_nir"]
ROUTES: dict[str, Any] = {
    "framework": (
        [
            *_LOWERING,
            "nki.framework.compiled:CompileKernel",
            "nki.compiler.driver:_compile_bir_to_neff",
        ],
        _through_framework,
    ),
    "ncc_driver": (
        [
            *_LOWERING,
            "nki.compiler.ncc_driver:CompileOptions",
            "nki.compiler.ncc_driver:compile_bir_to_neff",
        ],
        _through_driver,
    ),
}

if __name__ == "__main__":
    child_tools.run(work)
