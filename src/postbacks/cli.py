"""The `postbacks` command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from postbacks import __version__, logs
from postbacks.errors import FileError, PostbacksError, SettingError
from postbacks.settings import Settings, load_settings, with_secrets

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="A click becomes a conversion on the ad platform that brought the player.",
    pretty_exceptions_enable=False,
)

Host = Annotated[str | None, typer.Option(help="Listen address; default POSTBACKS_HOST.")]
Port = Annotated[int | None, typer.Option(help="Port; default POSTBACKS_PORT.")]


def main() -> None:
    """Entry point: errors that an operator can mend are one line, without a traceback."""
    logs.configure()
    try:
        app()
    except PostbacksError as error:
        print(f"postbacks: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


@app.command()
def version() -> None:
    """Prints the version."""
    print(__version__)


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Also start the platform simulators and a demo app.")
    ] = False,
) -> None:
    """Migrates, then runs API and dispatcher in one process."""
    settings = _settings(host, port)
    _run(_serve(settings, api=True, dispatch=True, sandbox=sandbox, migrate=True))


@app.command()
def api(host: Host = None, port: Port = None) -> None:
    """Runs the API alone; any number of them against one database."""
    _run(_serve(_settings(host, port), api=True, dispatch=False))


@app.command()
def dispatch() -> None:
    """Runs a dispatcher alone; any number of them against one database."""
    _run(_serve(_settings(None, None), api=False, dispatch=True))


@app.command(name="sandbox")
def sandbox_command(
    host: Annotated[str, typer.Option(help="Listen address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port.")] = 8001,
) -> None:
    """Runs the five platform simulators alone."""
    _run(_sandbox(host, port))


@app.command()
def migrate(
    distribute: Annotated[
        bool, typer.Option("--distribute", help="On a Citus coordinator: distribute by app.")
    ] = False,
) -> None:
    """Brings the database to the newest schema."""
    _run(_migrate(_settings(None, None), distribute=distribute))


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="YAML with apps, destinations and event mappings.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the difference, change nothing.")] = False,
) -> None:
    """Creates and updates apps, destinations and event mappings from a file."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8'}.") from None
    _run(_apply(_settings(None, None), text, dry_run=dry_run))


@app.command()
def doctor(
    app_name: Annotated[str | None, typer.Option("--app", help="Only this app.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only this destination.")] = None,
) -> None:
    """Asks each platform whether the credentials work; records no conversion. Exit 1 if any fails."""
    if not _run(_doctor(_settings(None, None), app_name, destination)):
        raise typer.Exit(1)


@app.command(name="rotate-keys")
def rotate_keys() -> None:
    """Seals every stored secret anew under the first of POSTBACKS_ENCRYPTION_KEYS."""
    _run(_rotate(_settings(None, None)))


@app.command()
def bench(
    backlog: Annotated[int, typer.Option(min=1_000, help="Deliveries in the queue for each dispatch run.")] = 50_000,
    history: Annotated[
        int, typer.Option(min=0, help="Finished deliveries that stand in the tables already.")
    ] = 5_000_000,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of each timed run.")] = 10.0,
    runs: Annotated[int, typer.Option(min=1, help="Runs of which the median counts.")] = 3,
    dispatchers: Annotated[int, typer.Option(min=1, help="Dispatcher processes of the dispatch sections.")] = 1,
    only: Annotated[str, typer.Option(help="Comma-separated sections; default all.")] = "",
    grow: Annotated[
        int, typer.Option(min=0, help="Instead: a table for 10 k, 100 k, … up to so many queued and finished rows.")
    ] = 0,
    plot: Annotated[Path | None, typer.Option(help="With --grow: where to write the chart (SVG).")] = None,
) -> None:
    """Measures throughput on a fresh embedded database, each figure beside its ceiling; prints JSON."""
    if grow:
        picture = _run(_grow(grow, seconds))
        if plot is not None:
            plot.write_text(picture)
        return
    sections = [name.strip() for name in only.split(",") if name.strip()]
    _run(_bench(backlog, history, seconds, runs, dispatchers, sections))


def _settings(host: str | None, port: int | None) -> Settings:
    overrides = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    return load_settings(**overrides)


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        import uvloop  # noqa: PLC0415 - not on every system
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


@asynccontextmanager
async def _database(settings: Settings) -> AsyncIterator[str]:
    """The URL of the database, which is started first where it is our own."""
    from postbacks.store.embedded import embedded_database, ensure_database  # noqa: PLC0415 - slow to import

    if settings.database_url is not None:
        with nullcontext(settings.database_url) as url:
            yield url
        return
    with embedded_database(settings.data_dir) as url:
        await ensure_database(url)
        yield url


async def _serve(
    settings: Settings, *, api: bool, dispatch: bool, sandbox: bool = False, migrate: bool = False
) -> None:
    from postbacks import serving  # noqa: PLC0415 - the other commands start faster without it
    from postbacks.runtime import open_runtime  # noqa: PLC0415
    from postbacks.store import migrating  # noqa: PLC0415

    settings = with_secrets(settings)
    simulators = await _start_sandbox(settings) if sandbox else None
    try:
        announcing: AbstractContextManager[None] = nullcontext()
        if simulators is not None:
            from postbacks.sandbox_setup import announced  # noqa: PLC0415

            settings = _pointed_at(settings, simulators.url)
            announcing = announced(settings.data_dir, simulators.url)
        async with _database(settings) as url:
            if migrate or settings.embedded:
                await migrating.migrate(url)
            await _check_schema(url)
            async with open_runtime(
                settings, url, "serve" if api and dispatch else "api" if api else "dispatch"
            ) as runtime:
                extra = []
                words = "Postbacks listens on {}.".format if api else "The dispatcher runs.".format
                if simulators is not None:
                    from postbacks.sandbox_setup import create_demo, walk  # noqa: PLC0415
                    from postbacks.snippet.demo import demo_router  # noqa: PLC0415

                    keys = await create_demo(runtime, simulators.url)
                    extra.append(demo_router(keys.publishable_key))
                    words = partial(walk, sandbox_url=simulators.url, admin_token=settings.admin_token or "", keys=keys)

                def started(address: str) -> None:
                    # Only now is the port known that POSTBACKS_PORT=0 chose.
                    print(words(address), flush=True)

                with announcing:
                    await serving.run(runtime, api=api, dispatch=dispatch, extra=extra, started=started)
    finally:
        if simulators is not None:
            await simulators.stop()


async def _check_schema(url: str) -> None:
    from postbacks.store import migrating  # noqa: PLC0415

    connection = await migrating.connect(url)
    try:
        current = await migrating.current(connection)
    finally:
        await connection.close()
    if current is None or current < migrating.newest():
        raise SettingError(
            f"The database has schema {current or 'none'}, this version needs {migrating.newest()}: "
            "run `postbacks migrate`."
        )


async def _start_sandbox(settings: Settings, port: int | None = None) -> Any:
    from postbacks.sandbox.server import start  # noqa: PLC0415

    wanted = port if port is not None else (settings.port + 1 if settings.port else 0)
    try:
        return await start("127.0.0.1", wanted)
    except OSError:
        return await start("127.0.0.1", 0)


def _pointed_at(settings: Settings, url: str) -> Settings:
    """The settings with the platforms' addresses replaced, and webhooks to this machine allowed."""
    from ipaddress import ip_network  # noqa: PLC0415

    from postbacks.sandbox.server import api_bases  # noqa: PLC0415

    overrides: dict[str, Any] = {name.lower(): base for name, base in api_bases(url).items()}
    overrides["webhook_allow_networks"] = (
        *settings.webhook_allow_networks,
        ip_network("127.0.0.0/8"),
        ip_network("::1"),
    )
    return settings.model_copy(update=overrides)


async def _sandbox(host: str, port: int) -> None:
    import signal  # noqa: PLC0415

    from postbacks.sandbox.server import api_bases, start  # noqa: PLC0415

    try:
        running = await start(host, port)
    except OSError as error:
        raise SettingError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from None
    print(f"The simulated platforms listen on {running.url}. Point Postbacks at them with:\n")
    for name, base in api_bases(running.url).items():
        print(f"export POSTBACKS_{name}={base}")
    print("export POSTBACKS_WEBHOOK_ALLOW_NETWORKS=127.0.0.0/8  # for webhooks to the sink")
    print(f"\nWhat they received and their switches: {running.url}/_sandbox/", flush=True)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await running.stop()


async def _migrate(settings: Settings, *, distribute: bool) -> None:
    from postbacks.store import migrating  # noqa: PLC0415

    async with _database(settings) as url:
        await migrating.migrate(url)
        print(f"The database has schema {migrating.newest()}.")
        if distribute:
            tables = await migrating.distribute(url)
            print(f"Distributed by app: {', '.join(tables)}." if tables else "All tables were distributed already.")


async def _apply(settings: Settings, text: str, *, dry_run: bool) -> None:
    from postbacks.admin.applying import apply_file  # noqa: PLC0415
    from postbacks.runtime import open_runtime  # noqa: PLC0415
    from postbacks.store import migrating  # noqa: PLC0415

    settings = with_secrets(settings)
    async with _database(settings) as url:
        if settings.embedded:
            await migrating.migrate(url)
        await _check_schema(url)
        async with open_runtime(settings, url, "apply") as runtime:
            for line in await apply_file(runtime.admin, text, dry_run=dry_run):
                print(line)


async def _doctor(settings: Settings, app_name: str | None, destination: str | None) -> bool:
    from postbacks.admin.doctor import examine  # noqa: PLC0415
    from postbacks.runtime import open_runtime  # noqa: PLC0415
    from postbacks.sandbox_setup import running_sandbox  # noqa: PLC0415

    settings = with_secrets(settings)
    sandbox_url = running_sandbox(settings.data_dir)
    if sandbox_url is not None:
        print(f"`serve --sandbox` runs in {settings.data_dir}: the simulated platforms on {sandbox_url} are asked.")
        settings = _pointed_at(settings, sandbox_url)
    async with _database(settings) as url:
        await _check_schema(url)
        async with open_runtime(settings, url, "doctor") as runtime:
            return await examine(runtime.admin, app_name, destination, print)


async def _bench(backlog: int, history: int, seconds: float, runs: int, dispatchers: int, sections: list[str]) -> None:
    import orjson  # noqa: PLC0415

    from postbacks.bench.running import SECTIONS, Sizes, report  # noqa: PLC0415

    unknown = [name for name in sections if name not in SECTIONS]
    if unknown:
        raise SettingError(f"--only: {', '.join(unknown)} is no section; there are {', '.join(SECTIONS)}.")
    results = await report(
        Sizes(backlog, history, seconds, runs, dispatchers),
        only=sections,
        progress=lambda name: print(f"{name} …", file=sys.stderr, flush=True),
    )
    print(orjson.dumps(results, option=orjson.OPT_INDENT_2).decode())


async def _grow(largest: int, seconds: float) -> str:
    from postbacks.bench import growing  # noqa: PLC0415

    rows = await growing.grow(largest, seconds, lambda words: print(f"{words} …", file=sys.stderr, flush=True))
    if not rows:
        raise SettingError(f"--grow: the smallest size is {growing.SIZES[0]}.")
    print(growing.table(rows))
    return growing.picture(rows)


async def _rotate(settings: Settings) -> None:
    from postbacks.runtime import open_runtime  # noqa: PLC0415
    from postbacks.store import configuration  # noqa: PLC0415

    settings = with_secrets(settings)
    async with (
        _database(settings) as url,
        open_runtime(settings, url, "rotate-keys") as runtime,
        runtime.database.transaction() as connection,
    ):
        count = await configuration.rotate_secrets(connection, runtime.vault.rotate)
        await configuration.notify_changed(connection)
        print(f"{count} secrets are sealed under the first key; older keys may be removed from the setting now.")


if __name__ == "__main__":
    main()
