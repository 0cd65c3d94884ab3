"""The `postbacks` command as an operator types it: exit codes, one line for what can be mended, no traceback."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from pathlib import Path

import asyncpg
import httpx
import pytest
from cryptography.fernet import Fernet

from postbacks.store.embedded import embedded_database, ensure_database
from tests.support.processes import COMMAND, Process
from tests.support.service import ADMIN

SECRETS = {"ADMIN_TOKEN": ADMIN, "ENCRYPTION_KEYS": Fernet.generate_key().decode()}
UNREACHABLE = "postgresql://127.0.0.1:1/postbacks"


def environment(directory: Path, **settings: str) -> dict[str, str]:
    values = {"DATA_DIR": str(directory / "data"), **settings}
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        **{f"POSTBACKS_{name}": value for name, value in values.items()},
    }


def run(directory: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *arguments],
        env=environment(directory, **settings),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command ends with when an operator has something to mend."""
    assert done.returncode == 2, done
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("postbacks: ")
    return lines[0]


@pytest.mark.parametrize("arguments", [("migrate",), ("serve", "--port", "0"), ("dispatch",)], ids=lambda one: one[0])
def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    line = complaint(run(tmp_path, *arguments, DATABASE_URL=UNREACHABLE, **SECRETS))
    assert "POSTBACKS_DATABASE_URL" in line


@pytest.mark.parametrize(
    ("before", "words"),
    [
        ("UPDATE alembic_version SET version_num = 'elsewhere'", "elsewhere"),
        ("DROP TABLE alembic_version", "already exists"),
    ],
    ids=["of another version", "foreign tables"],
)
async def test_a_migration_that_cannot_be_is_one_line(
    tmp_path: Path, database_url: str, before: str, words: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(before)
    await connection.close()
    assert words in complaint(run(tmp_path, "migrate", DATABASE_URL=database_url))


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = complaint(run(tmp_path, "serve", "--port", "0", DATA_DIR=str(tmp_path / "file" / "below")))
    assert "POSTBACKS_DATA_DIR" in line
    complaint(run(tmp_path, "serve", "--port", "0", DATA_DIR=str(tmp_path / "file" / "below"), **SECRETS))


def test_a_wrong_setting_is_named_once(tmp_path: Path) -> None:
    line = complaint(run(tmp_path, "serve", RETRY_SCHEDULE="a,b", TRUSTED_PROXIES="zzz", PORT="http"))
    for name in ("RETRY_SCHEDULE", "TRUSTED_PROXIES", "PORT"):
        assert line.count(f"POSTBACKS_{name}:") == 1


def test_a_port_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "POSTBACKS_PORT:" in complaint(run(tmp_path, "serve", "--port", "70000"))
    assert run(tmp_path, "sandbox", "--port", "70000").returncode == 2


async def test_a_port_that_the_system_chose_stands_in_what_is_printed_and_doctor_asks_the_same_simulators(
    tmp_path: Path,
) -> None:
    process = Process(("serve", "--sandbox"), environment(tmp_path, PORT="0"), tmp_path)
    try:
        await process.ready("Ctrl-C")
        urls = set(re.findall(r"http://[\d.]+:\d+", process.output))
        assert len(urls) == 2, "the service and the simulators"
        url = re.search(r"dashboard +(http://\S+)/ ", process.output)
        assert url is not None
        admin = {"Authorization": f"Bearer {(tmp_path / 'data' / 'admin_token').read_text().strip()}"}

        well = run(tmp_path, "doctor")
        assert well.returncode == 0, well
        assert well.stdout.count("ok   demo/") == 6
        meta = "/v1/apps/demo/destinations/meta"
        client = httpx.AsyncClient(base_url=url[1], headers=admin)
        body = (await client.get(meta)).json()
        wrong = {
            "platform": "meta",
            "options": body["options"],
            "credentials": {**body["credentials"], "access_token": "EAABexpired"},
        }
        assert (await client.put(meta, json=wrong)).status_code == 200
        await client.aclose()
        ill = run(tmp_path, "doctor", "--app", "demo")
        assert ill.returncode == 1, ill
        assert "FAIL demo/meta" in ill.stdout
        assert "remedy: " in ill.stdout
        assert run(tmp_path, "doctor", "--destination", "x").returncode == 0
        assert await process.terminate() == 0
        assert not (tmp_path / "data" / "sandbox.running").exists()
    finally:
        if process.running:
            process.kill()


async def test_api_and_dispatcher_share_the_embedded_database_from_its_first_moment(tmp_path: Path) -> None:
    both = [Process((name,), environment(tmp_path, PORT="0"), tmp_path) for name in ("api", "dispatch")]
    api, dispatcher = both
    try:
        await api.ready("Postbacks listens")
        await dispatcher.ready("The dispatcher runs.")
        lock = tmp_path / "data/postgres/postmaster.pid"
        assert lock.exists()
        dispatcher.kill()
        assert await api.terminate() == 0
        assert not lock.exists(), "the last one to leave stops it, also after one that was killed"
    finally:
        for process in both:
            if process.running:
                process.kill()


async def test_several_may_create_the_database_at_once(tmp_path: Path) -> None:
    with embedded_database(tmp_path) as url:
        await asyncio.gather(*(ensure_database(url) for _ in range(8)))
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT current_database()") == "postbacks"
        await connection.close()
