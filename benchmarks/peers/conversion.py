"""What every Python peer shares: the body of one conversion, where it goes, and the three commands of a peer.

It uses the standard library alone, since each peer runs in a virtual environment of its own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator

PATH = "/v25.0/998877665544332/events"
HEADERS = {"Content-Type": "application/json"}


def sink() -> str:
    """The URL that takes the conversions."""
    return os.environ["PEER_SINK"] + PATH


def database() -> str:
    """The URL of the peer's own PostgreSQL database."""
    return os.environ["PEER_DATABASE_URL"]


def redis() -> str:
    """The URL of the run's own Redis server."""
    return os.environ["PEER_REDIS_URL"]


def setting(name: str) -> int:
    """A number that the runner sets for this peer and prints in its table."""
    return int(os.environ[f"PEER_{name.upper()}"])


def body(number: int) -> str:
    """One conversion, alike in size and form to those that our dispatcher sends to Meta."""
    event = {
        "event_name": "Purchase",
        "event_time": 1_790_000_000 + number,
        "event_id": f"pbk_{number:032x}",
        "action_source": "website",
        "event_source_url": "https://game.example/lp",
        "user_data": {
            "fbc": f"fb.1.1790000000000.IwAR0benchClick{number:06d}",
            "client_user_agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36",
        },
        "custom_data": {"value": 4.99, "currency": "EUR"},
    }
    return json.dumps({"data": [event]}, separators=(",", ":"))


def bodies(count: int) -> Iterator[str]:
    """So many conversions, each with a key of its own."""
    return (body(number) for number in range(count))


def command(enqueue: Callable[[int], object], work: Callable[[], object], left: Callable[[], int]) -> None:
    """Runs `enqueue N`, `work` (until a signal) or `left` (prints how many jobs are not completed)."""
    match sys.argv[1:]:
        case ["enqueue", count]:
            enqueue(int(count))
        case ["work"]:
            work()
        case ["left"]:
            print(left())
        case _:
            sys.exit("enqueue N, work or left")
