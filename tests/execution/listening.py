"""Says where processes listen, and tries to talk to a Ray as a stranger would."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

LISTEN = "0A"


def descendants(process: int) -> set[int]:
    """A process and all that it, or one of them, started."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(after_name[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(process: int) -> list[str]:
    """The address and port of every TCP socket on which a process or a descendant listens."""
    inodes = set()
    for each in descendants(process):
        with suppress(OSError):
            inodes |= {os.readlink(handle) for handle in Path(f"/proc/{each}/fd").iterdir()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and f"socket:[{fields[9]}]" in inodes:
                found.append(_address(fields[1]))
    return found


def _address(text: str) -> str:
    """Reads the kernel's form: words of 32 bits in this machine's order, in hexadecimal."""
    number, _, port = text.partition(":")
    words = struct.unpack(f"={len(number) // 8}I", bytes.fromhex(number))
    raw = b"".join(struct.pack(">I", word) for word in words)
    address = ipaddress.ip_address(raw)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return f"{address.ipv4_mapped}:{int(port, 16)}"
    return f"{address}:{int(port, 16)}"


def main(address: str) -> None:
    """Asks the GCS at an address for its nodes; a refusal is known at once, a connection is not."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), 5).close()  # it is there
    import ray._raylet

    client: Any = ray._raylet
    try:
        client.GcsClient(address=address).internal_kv_keys(b"", None, timeout=5)
    except Exception:
        print("refused")
    else:
        print("answered")


if __name__ == "__main__":
    main(sys.argv[1])
