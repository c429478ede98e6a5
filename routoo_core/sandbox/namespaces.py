"""A sandbox of the Linux kernel: a program sees no network, no file of the user's, no other process and no variable.

It is made of namespaces by the tools of util-linux, which every distribution brings: ``unshare``, ``mount``,
``pivot_root`` and ``setpriv``. The program has a file system of its own in memory, beside Python and the system's
libraries to read.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from routoo_core.errors import ConfigurationError

DISK_MB = 64
"""How much the program may write, all files together."""
_TOOLS = ("unshare", "mount", "umount", "pivot_root", "setpriv")
_SYSTEM_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
_PROBE_TIMEOUT_S = 20

_NAMESPACES = (
    "--user",
    "--map-root-user",
    "--mount",
    "--pid",
    "--fork",
    "--net",
    "--ipc",
    "--uts",
    "--kill-child",
)
# $1 is an empty folder, $2 the size of the disk in MB; folders to read follow, up to "--", then the program.
_SET_UP = """
set -eu
root=$1
size=$2
shift 2
mount -t tmpfs -o "size=${size}m,mode=0755,nosuid,nodev" none "$root"
while [ "$1" != -- ]; do
    if [ -L "$1" ]; then
        ln -s "$(readlink "$1")" "$root$1"
    else
        mkdir -p "$root$1"
        mount --rbind "$1" "$root$1"
        mount -o remount,bind,ro "$root$1"
    fi
    shift
done
shift
mkdir -p "$root/proc" "$root/dev" "$root/etc" "$root/sandbox/work" "$root/sandbox/old"
mount -t proc -o nosuid,nodev,noexec none "$root/proc"
for device in null zero urandom; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
if [ -e /etc/ld.so.cache ]; then
    touch "$root/etc/ld.so.cache"
    mount --bind /etc/ld.so.cache "$root/etc/ld.so.cache"
    mount -o remount,bind,ro "$root/etc/ld.so.cache"
fi
cd "$root"
pivot_root . sandbox/old
umount -l /sandbox/old
cd /sandbox/work
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all "$@"
"""


def sandbox_command(program: Sequence[str], root: Path) -> list[str]:
    """The command that runs a program of this Python's in a sandbox.

    Args:
        program: It, and its arguments.
        root: An empty folder of this machine, which the sandbox's file system is mounted on; it stays empty outside.
    """
    return [
        "unshare",
        *_NAMESPACES,
        "sh",
        "-c",
        _SET_UP,
        "sandbox",
        str(root),
        str(DISK_MB),
        *_readable_folders(),
        "--",
        *program,
    ]


@lru_cache(maxsize=1)
def sandbox_problem() -> str | None:
    """Why this machine can make no sandbox; ``None`` where it can. It is tried once, with an empty program."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} of util-linux is not installed"
    with tempfile.TemporaryDirectory(prefix="routoo-sandbox-") as folder:
        command = sandbox_command([sys.executable, "-I", "-c", "print('ready')"], Path(folder))
        try:
            trial = subprocess.run(  # noqa: S603
                command, env={}, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"it could not be started ({type(error).__name__})"
    if trial.stdout.strip() == b"ready":
        return None
    lines = trial.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"it ended with status {trial.returncode}"


def check_sandbox() -> None:
    """Refuse to go on without a sandbox.

    Raises:
        ConfigurationError: This machine can make none; the message says why.
    """
    problem = sandbox_problem()
    if problem is not None:
        raise ConfigurationError(
            f"no sandbox can be made here: {problem}. Run this on Linux with user namespaces, or, in a container that "
            "you can lose, add --unsafe to run what models write without a sandbox"
        )


def _readable_folders() -> list[str]:
    """The system's libraries and this Python, outer folders first, none inside another."""
    folders: list[str] = []
    for name in (*_SYSTEM_FOLDERS, sys.base_prefix, sys.prefix):
        path = Path(name)
        is_inside = any(path.is_relative_to(folder) for folder in folders)
        if path.exists() and not is_inside:
            folders.append(name)
    return folders
