"""`postbacks …` whose clock is wrong: `python -m tests.support.shifted FILE ARGUMENTS…`.

FILE holds the seconds by which the clock is off, and may be changed while the process runs: the clock jumps.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from postbacks import cli, runtime


def shifted(file: Path) -> None:
    """Replaces the service's clock; `now()` of PostgreSQL stays right."""
    runtime.clock = lambda: datetime.now(UTC) + timedelta(seconds=float(file.read_text() or 0))


if __name__ == "__main__":
    shifted(Path(sys.argv[1]))
    sys.argv = ["postbacks", *sys.argv[2:]]
    sys.exit(cli.main())
