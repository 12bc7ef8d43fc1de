"""`neuron-explorer capture` and `view`, as far as a total time needs them."""

from __future__ import annotations

import argparse
import json
import os
import sys

import fake_device  # type: ignore[import-not-found]
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    capture, view = commands.add_parser("capture"), commands.add_parser("view")
    for each in (capture, view):
        each.add_argument("-n", required=True)
        each.add_argument("-s", required=True)
    capture.add_argument("--num-exec", type=int, required=True)
    capture.add_argument("--profile-nth-exec", type=int, required=True)
    capture.add_argument("inputs", nargs="*")
    view.add_argument("--output-format", choices=["summary-json"], required=True)
    given = parser.parse_args()
    neff = fake_device.load_neff(given.n)
    if given.command == "capture":
        fake_device.hold(SystemExit)
        if fake_device.fault("oob"):
            sys.exit("nrt_execute failed: NRT_EXEC_OOB(1006)")
        assert given.inputs[::2] == [name for name, _, _ in neff["inputs"]]
        for file, (_, shape, _) in zip(given.inputs[1::2], neff["inputs"]):  # noqa: B905
            assert list(np.load(file).shape) == shape
        root, extension = os.path.splitext(given.s)
        if not fake_device.fault("no-profile"):
            with open(f"{root}_exec_{given.profile_nth_exec}{extension}", "w") as profile:
                profile.write("x")
        return
    assert os.path.exists(given.s)
    if fake_device.fault("other-schema"):
        print(json.dumps({"kernel": {"duration": 1}}))
    else:
        print(json.dumps({"kernel": {"total_time": neff["us"] / 1e6, "mfu": -1}}))


main()
