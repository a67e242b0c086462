"""What the processes of this machine do, as Linux tells it."""

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

LISTENING = "0A"


def descendants(pid: int) -> set[int]:
    """The process's children, theirs, and so on."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = set[int](), [pid]
    while todo:
        new = children.get(todo.pop(), [])
        found |= set(new)
        todo += new
    return found


def alive(pids: set[int]) -> set[str]:
    """Pid and command of those that have not ended."""
    names = set()
    for pid in pids:
        try:
            if command := Path(f"/proc/{pid}/cmdline").read_text():  # of a zombie it is empty
                names.add(f"{pid} {command[:100]}")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return names


def listening(pids: set[int]) -> set[tuple[str, int]]:
    """The addresses and TCP ports on which the processes listen."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(str(descriptor.readlink()))
            except FileNotFoundError:
                continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                host, port = fields[1].split(":")
                found.add((_address(bytes.fromhex(host)), int(port, 16)))
    return found


def _address(kept: bytes) -> str:
    """The address of /proc/net: words of four bytes, each in the order of the machine."""
    straight = b"".join(kept[at : at + 4][::-1] for at in range(0, len(kept), 4))
    if len(straight) == 4:
        return str(IPv4Address(straight))
    address = IPv6Address(straight)
    return str(address.ipv4_mapped or address)
