"""HAProxy as Ray Serve starts it, made safe: a program, which haproxy.sh starts in place of HAProxy's binary.

Ray writes HAProxy's configuration from a template that no setting changes. In it every local user may command HAProxy
(send the traffic elsewhere, for instance), and pages without a password listen on every interface. Here, on whatever
node it starts:

- the folder of the configuration is ours and 0700, the socket is 0600 and has no admin level;
- the pages listen on loopback, or not at all when their port is 0;
- a client has a limited time to send the head of its request;
- HAProxy ends with the process that started it, so that no orphan keeps the port.

It imports nothing of Portrait: it runs at every reload, and importing takes longer than all it does.
"""

import ctypes
import os
import re
import shutil
import signal
import stat
import sys
from pathlib import Path

HEAD_SECONDS = 10
"""How long a client may take for the head of a request, from the opening of its connection."""

PR_SET_PDEATHSIG = 1

SOCKET = re.compile(r"^(\s*stats socket \S+) mode 666 level admin\b", re.MULTILINE)
PAGES = re.compile(r"^(?:frontend prometheus|listen stats)\n(?:[ \t]+.*\n)*", re.MULTILINE)
ANYWHERE = re.compile(r"^(\s*bind) \*?:(\d+)$", re.MULTILINE)
DEFAULTS = re.compile(r"^defaults\n", re.MULTILINE)


def safe_configuration(written: str) -> str:
    """Ray's configuration made safe; raises ValueError when it is not of the form that this code knows."""
    made, sockets = SOCKET.subn(r"\1 mode 600 level operator", written)
    made, pages = PAGES.subn(_page, made)
    made, defaults = DEFAULTS.subn(f"defaults\n    timeout http-request {HEAD_SECONDS}s\n", made)
    if (sockets, pages, defaults) != (1, 2, 1) or "level admin" in made:
        raise ValueError("Ray writes HAProxy's configuration in a form that Portrait does not know")
    return made


def _page(section: re.Match[str]) -> str:
    bound = ANYWHERE.search(section[0])
    if bound is None:
        raise ValueError("HAProxy's pages are bound in a form that Portrait does not know")
    return "" if bound[2] == "0" else ANYWHERE.sub(r"\1 127.0.0.1:\2", section[0])


def require_private(folder: Path) -> None:
    """Let nobody else enter the folder; raises ValueError when it is somebody else's, or a link."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise ValueError(f"{folder} belongs to user {found.st_uid} or is a link")
    folder.chmod(0o700)


def die_with_parent() -> None:
    """Have the kernel end this process, whatever it executes later, when its parent ends."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the process that wanted HAProxy has ended")


def main(arguments: list[str]) -> None:
    """Execute HAProxy with these arguments, as Ray gives them, over the safe configuration."""
    place = arguments.index("-f") + 1
    config = Path(arguments[place])
    binary = os.environ.get("PORTRAIT_HAPROXY_BINARY", "")
    if not os.access(binary, os.X_OK):
        binary = shutil.which("haproxy") or sys.exit("there is no HAProxy on this node")
    die_with_parent()
    try:
        require_private(config.parent)
        safe = config.with_name("safe.cfg")
        fresh = config.with_name(f"safe.{os.getpid()}")
        fresh.write_text(safe_configuration(config.read_text()))
        fresh.replace(safe)  # in one step: another reload may be reading it
    except (OSError, ValueError) as error:
        sys.exit(f"HAProxy is not started: {error}")
    # Ray knows its HAProxy by the path that it gave, so this stays among the arguments: as the name of a peer.
    os.execv(binary, [binary, "-L", str(config), *arguments[:place], str(safe), *arguments[place + 1 :]])


if __name__ == "__main__":
    main(sys.argv[1:])
