"""Brings the peers onto this machine: from PyPI and npm at pinned versions, Redis and Node from Debian's packages."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from peers import HERE, Peer

VENVS = HERE.parent.parent / ".venv-peers"
MODULES = HERE / "node_modules"
OLDEST_NODE = 18


class CannotInstall(Exception):
    """A peer is left out of the comparison; says why."""


def interpreter(peer: Peer) -> str:
    """The program that runs the peer's script."""
    if peer.language == "Node":
        return shutil.which("node") or "node"
    return str(VENVS / peer.key / "bin" / "python")


def install(peer: Peer) -> None:
    """Installs a peer and what it stores its jobs in. Raises `CannotInstall`."""
    if peer.storage == "redis":
        _debian("redis-server", "redis-server")
    if peer.language == "Node":
        _debian("node", "nodejs")
        _debian("npm", "npm")
        _node()
    else:
        _python(peer)


def version(peer: Peer) -> str:
    """The version that is installed."""
    if peer.language == "Node":
        text: str = json.loads((MODULES / peer.package / "package.json").read_text())["version"]
        return text
    code = f"from importlib.metadata import version; print(version({peer.package!r}))"
    return subprocess.run([interpreter(peer), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def _debian(program: str, package: str) -> None:
    if shutil.which(program):
        return
    if not shutil.which("apt-get"):
        raise CannotInstall(f"{program} is missing and there is no apt-get to install it with")
    if os.geteuid() != 0:
        raise CannotInstall(f"{program} is missing; run `apt-get install {package}` as root, then this again")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-qq"], environment=environment)
    _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], environment=environment)


def _python(peer: Peer) -> None:
    requirements = HERE / "requirements" / f"{peer.key}.txt"
    home = VENVS / peer.key
    stamp = home / "installed"
    if _is_stamped(stamp, requirements):
        return
    if sys.platform == "win32":
        raise CannotInstall("the comparison needs Linux or macOS")
    venv.create(home, with_pip=True, clear=True)
    pip = [interpreter(peer), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run([*pip, "install", "--require-hashes", "--requirement", str(requirements)])
    _stamp(stamp, requirements)


def _node() -> None:
    found = subprocess.run(["node", "--version"], check=False, capture_output=True, text=True).stdout.strip()
    if int(found.lstrip("v").split(".")[0] or 0) < OLDEST_NODE:
        raise CannotInstall(f"Node {OLDEST_NODE} or newer is needed; this is {found or 'none'}")
    lock = HERE / "package-lock.json"
    stamp = MODULES / ".installed"
    if _is_stamped(stamp, lock):
        return
    _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], directory=HERE)
    _stamp(stamp, lock)


def _digest(pinned: Path) -> str:
    return hashlib.sha256(pinned.read_bytes()).hexdigest()


def _is_stamped(stamp: Path, pinned: Path) -> bool:
    return stamp.exists() and stamp.read_text() == _digest(pinned)


def _stamp(stamp: Path, pinned: Path) -> None:
    stamp.write_text(_digest(pinned))


def _run(command: list[str], directory: Path = HERE, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, check=False, cwd=directory, env=environment, capture_output=True, text=True)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise CannotInstall(f"`{Path(command[0]).name} …` failed: {' | '.join(words)}")
