"""The pages of persistence: how long a save stops a server from answering, how fast files load, what durability costs, and
what a rewrite takes in memory and on the disk."""

import os
import shutil
import statistics
import time
from pathlib import Path

from . import measure
from .probe import Client, Prober, Writer, request
from .servers import Running, Server

GIB, MIB = 1 << 30, 1 << 20
# What a key of 11 bytes or so and 64 of value takes in Valkey: so many keys are "1 GiB".
KEY_BYTES_IN_MEMORY = 128
VALUE_BYTES = 64
# Of 100 keys so many are hashes, of five fields.
HASHES_PERCENT = 5
PREFIX = b"key"
QUIET_S = 3.0
SETTLE_S = 1.0
POLL_S = 0.1
SAVE_TIMEOUT_S = 600
LOAD_TIMEOUT_S = 600
KEYS_PER_BATCH = 500
# With both the server and a copy of all it holds in memory, something is to be left.
MEMORY_SHARE = 2.5
SHARDS = [1, 2, 4]
FORK_BUDGET = 1.3
FORKLESS_BUDGET_MS = 1.0
LOAD_BUDGET = 0.7
ALWAYS_BUDGET = 1.5


def with_args(name, server, *args):
    return Server(name, server.binary, [*server.args, *args])


def saving_servers(found):
    """The server under comparison and every way in which Gyre saves."""
    servers = {}
    if "valkey" in found:
        servers["valkey"] = found["valkey"]
    if "redis" in found:
        servers["redis"] = found["redis"]
    if "gyre" in found:
        for method in ("fork", "forkless"):
            for shards in SHARDS:
                name = f"gyre-{shards}-{method}"
                args = ["--shards", str(shards), "--snapshot-method", method]
                servers[name] = Server(name, found["gyre"].binary, args)
    return servers


def shards_of(server):
    return int(server.args[server.args.index("--shards") + 1]) if "--shards" in server.args else 1


def keys_of(gib):
    """(strings, hashes) of so much data."""
    keys = int(gib * GIB / KEY_BYTES_IN_MEMORY)
    # A hash takes about as much as three strings.
    hashes = keys * HASHES_PERCENT // 100 // 3
    return keys - 3 * hashes, hashes


def available_bytes():
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def require_memory(gib):
    if available_bytes() < MEMORY_SHARE * gib * GIB:
        raise RuntimeError(f"{gib:g} GiB of data need {MEMORY_SHARE * gib:g} GiB of free memory")


def hash_command(number):
    pairs = [part for field in range(5) for part in (b"field:%d" % field, b"v:%d" % (number + field))]
    return request("HSET", b"hash:%d" % number, *pairs)


def fill(client, strings, hashes):
    """Strings that the server makes itself, and hashes that are sent to it."""
    client("DEBUG", "POPULATE", strings, PREFIX, VALUE_BYTES)
    for first in range(0, hashes, KEYS_PER_BATCH):
        numbers = range(first, min(first + KEYS_PER_BATCH, hashes))
        client.socket.sendall(b"".join(map(hash_command, numbers)))
        for _ in numbers:
            client.reply()


def status_kib(pid, field):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)


def rss(pid):
    return status_kib(pid, "VmRSS:") * 1024


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += (task / "children").read_text().split()
        except OSError:
            pass  # The thread ended meanwhile.
    return found


def private_bytes(pid):
    """Memory that only this process has: of a forked child what has been duplicated since."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def cpu_s(pid):
    """CPU time of the process, of threads that have ended too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def disk_bytes(directory):
    total = 0
    for root, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def wait_while(client, fields, each=lambda info: None, timeout_s=SAVE_TIMEOUT_S):
    """Until none of these fields of INFO persistence is 1 any more; calls `each` with every INFO on the way."""
    deadline = time.monotonic() + timeout_s
    while True:
        info = client.info("persistence")
        each(info)
        if all(info.get(field, "0").strip() == "0" for field in fields):
            return info
        if time.monotonic() > deadline:
            raise RuntimeError(f"{fields} did not end in {timeout_s} s")
        time.sleep(POLL_S)


def stall(server, gib):
    """The worst reply gap during a BGSAVE, under a light load of writes, and what the save took."""
    require_memory(gib)
    strings, hashes = keys_of(gib)
    with Running(with_args(server.name, server, "--enable-debug-command", "yes"), None) as running:
        client = Client(running.port)
        fill(client, strings, hashes)
        held = rss(running.pid)
        time.sleep(SETTLE_S)
        keys = [b"%s:%d" % (PREFIX, number * 7919 % strings) for number in range(64)]
        prober = Prober(running.port, shards_of(server), keys)
        writer = Writer(running.port, PREFIX, strings)
        time.sleep(SETTLE_S)
        quiet_from = time.monotonic()
        time.sleep(QUIET_S)
        began = time.monotonic()
        client("BGSAVE")
        cow = [0]
        info = wait_while(client, ["rdb_bgsave_in_progress"],
                          lambda info: cow.append(int(info.get("current_cow_size", 0))))
        ended = time.monotonic()
        writer.finish()
        prober.finish()
        if info["rdb_last_bgsave_status"] != "ok":
            raise RuntimeError(f"{server.name}: BGSAVE failed")
        quiet, _ = prober.worst_s(quiet_from, began)
        worst, late = prober.worst_s(began, ended)
        file_bytes = os.path.getsize(Path(running.directory, "dump.rdb"))
        return {
            "worst_ms": worst * 1e3,
            "quiet_ms": quiet * 1e3,
            "added_ms": max(0.0, worst - quiet) * 1e3,
            "prober_late_ms": late * 1e3,
            "fork_ms": int(client.info("stats").get("latest_fork_usec", 0)) / 1e3,
            "seconds": ended - began,
            "mb_per_s": file_bytes / 1e6 / (ended - began),
            "cow_mib": max(int(info.get("rdb_last_cow_size", 0)), *cow) / MIB,
            "rss_mib": held / MIB,
            "keys": strings + hashes,
        }


class Files:
    """The files that the load pages read, each made when it is first asked for and removed in the end."""

    def __init__(self, found, directory, millions):
        self.found, self.directory, self.keys = found, Path(directory), int(millions * 1e6)

    def strings_and_hashes(self):
        hashes = self.keys * HASHES_PERCENT // 100
        return self.keys - hashes, hashes

    def rdb(self, writer):
        """Written by this server, without compression: what is measured is loading, not LZF."""
        place = self.directory / f"rdb-{writer}"
        if not (place / "dump.rdb").exists():
            if writer not in self.found:
                raise RuntimeError(f"{writer}, which is to write the file, is not here")
            server = with_args(writer, self.found[writer], "--rdbcompression", "no", "--enable-debug-command", "yes")
            with Running(server, None) as running:
                client = Client(running.port)
                fill(client, *self.strings_and_hashes())
                client("SAVE")
                place.mkdir(parents=True, exist_ok=True)
                shutil.move(Path(running.directory, "dump.rdb"), place / "dump.rdb")
        return place, []

    def aof(self):
        """Increments only: a SET or HSET for each key, in another order than that of their names."""
        place = self.directory / "aof"
        folder = place / "appendonlydir"
        if not (folder / "appendonly.aof.manifest").exists():
            folder.mkdir(parents=True, exist_ok=True)
            strings, hashes = self.strings_and_hashes()
            with open(folder / "appendonly.aof.1.incr.aof", "wb") as log:
                log.write(request("SELECT", "0"))
                value, step = b"v" * VALUE_BYTES, 7_368_787
                batch = []
                for number in range(self.keys):
                    # The step is prime, so it visits all.
                    at = number * step % self.keys
                    if at < strings:
                        key = b"%s:%d" % (PREFIX, at)
                        batch.append(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$64\r\n%s\r\n" % (len(key), key, value))
                    else:
                        batch.append(hash_command(at - strings))
                    if len(batch) == KEYS_PER_BATCH:
                        log.write(b"".join(batch))
                        batch.clear()
                log.write(b"".join(batch))
            (folder / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
        return place, ["--appendonly", "yes"]

    def remove(self):
        shutil.rmtree(self.directory, ignore_errors=True)


def load(server, cpu, files):
    """What it takes from the start of the process to the first answer that is not LOADING. `files` is (directory, arguments)."""
    source, args = files
    # Both sides read from the page cache, and write to a copy.
    began = time.monotonic()
    with Running(with_args(server.name, server, *args), cpu, start_with=source, patience_s=LOAD_TIMEOUT_S) as running:
        used = cpu_s(running.pid)
        client = Client(running.port)
        keys = client("DBSIZE")
        wall = running.ready_at - running.started_at
        size = sum(one.stat().st_size for one in source.rglob("*") if one.is_file())
        return {
            "cpu_s": used,
            "seconds": wall,
            "cpu_us_per_key": used * 1e6 / max(1, int(keys)),
            "keys_per_s": int(keys) / wall,
            "mb_per_s": size / 1e6 / wall,
            "rss_mib": rss(running.pid) / MIB,
            "keys": int(keys),
            "load_total_s": time.monotonic() - began,
        }


def durable(machine, server, policy, seconds):
    """SETs of 64 bytes by 50 clients with the AOF on."""
    logging = with_args(server.name, server, "--appendonly", "yes", "--appendfsync", policy,
                        "--auto-aof-rewrite-percentage", "0")
    return measure.saturated(machine, logging, "set", 1, seconds)


def rewrite(server, gib):
    """A BGREWRITEAOF under a light load of writes: the most memory and disk that it takes beyond what there was."""
    require_memory(gib)
    strings, hashes = keys_of(gib)
    args = ["--enable-debug-command", "yes", "--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"]
    with Running(with_args(server.name, server, *args), None) as running:
        client = Client(running.port)
        fill(client, strings, hashes)
        in_progress = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]
        # What POPULATE makes is in no log: the first rewrite makes the base that the second one replaces.
        client("BGREWRITEAOF")
        time.sleep(SETTLE_S)
        wait_while(client, in_progress)
        time.sleep(SETTLE_S)
        prober = Prober(running.port, shards_of(server), [b"%s:%d" % (PREFIX, number) for number in range(64)])
        writer = Writer(running.port, PREFIX, strings)
        time.sleep(QUIET_S)
        memory, disk = rss(running.pid), disk_bytes(running.directory)
        most = {"memory": memory, "disk": disk, "cow": 0}

        def look(info):
            used = rss(running.pid) + sum(private_bytes(child) for child in children(running.pid))
            most["memory"] = max(most["memory"], used)
            most["disk"] = max(most["disk"], disk_bytes(running.directory))
            most["cow"] = max(most["cow"], int(info.get("current_cow_size", 0)))

        began = time.monotonic()
        client("BGREWRITEAOF")
        # The field is 1 from the next turn on at the latest.
        time.sleep(POLL_S)
        info = wait_while(client, in_progress, look)
        ended = time.monotonic()
        writer.finish()
        prober.finish()
        if info["aof_last_bgrewrite_status"] != "ok":
            raise RuntimeError(f"{server.name}: BGREWRITEAOF failed")
        return {
            "seconds": ended - began,
            "worst_ms": prober.worst_s(began, ended)[0] * 1e3,
            "cow_mib": max(most["cow"], int(info.get("aof_last_cow_size", 0))) / MIB,
            "extra_mib": (most["memory"] - memory) / MIB,
            "extra_disk": most["disk"] / disk,
            "rss_mib": memory / MIB,
            "disk_mib": disk / MIB,
            "keys": strings + hashes,
        }


def workloads(machine, options, found):
    """As `workloads` of scripts/compare."""
    plan, files = [], Files(found, options.target / "compare/persist", options.load_millions)
    saving = saving_servers(found)
    for gib in options.data_gib:
        plan.append((f"persist-stall-{gib:g}g", False, saving, lambda server, _, g=gib: stall(server, g)))
    redislike = {name: server for name, server in found.items() if not server.is_floor}
    sources = [(f"rdb-by-{writer}", lambda w=writer: files.rdb(w)) for writer in ("valkey", "gyre")]
    for name, make in [*sources, ("aof", files.aof)]:
        # Redis 7.0 reads no file of Valkey's.
        servers = {n: s for n, s in redislike.items() if n != "redis" or name == "aof"}
        plan.append((f"persist-load-{name}", False, servers,
                     lambda server, _, m=make: load(server, machine.server_cpu, m())))
    for policy in ("always", "everysec"):
        plan.append((f"persist-{policy}", False, redislike,
                     lambda server, _, p=policy: durable(machine, server, p, options.seconds)))
    for gib in options.data_gib:
        plan.append((f"persist-rewrite-{gib:g}g", False, saving, lambda server, _, g=gib: rewrite(server, g)))
    return plan, files


def quotient(a, b):
    return None if a is None or not b else a / b


def budget_rows(summary):
    """Rows as report.budget_rows makes them, for what has been measured: (what, bound, value, None, met)."""
    rows = []

    def row(what, bound, value, met):
        rows.append((what, bound, value, None, None if value is None else met(value)))

    def of(workload, server, figure):
        return summary[workload].get(server, {}).get(figure)

    for workload in summary:
        if workload.startswith("persist-stall-"):
            for shards in SHARDS[1:]:
                stalls = [of(workload, f"gyre-{n}-fork", "fork_ms") for n in (shards, 1)]
                bound = FORK_BUDGET / shards
                row(f"fork of one of {shards} shards / one fork of all ({workload})", f"<= {bound:.2f}",
                    quotient(*stalls), lambda value, b=bound: value <= b)
            for shards in SHARDS:
                row(f"forkless, {shards} shards: longest added stall, ms ({workload})", f"<= {FORKLESS_BUDGET_MS:g}",
                    of(workload, f"gyre-{shards}-forkless", "added_ms"), lambda value: value <= FORKLESS_BUDGET_MS)
        elif workload.startswith("persist-load-"):
            value = quotient(of(workload, "gyre", "cpu_s"), of(workload, "valkey", "cpu_s"))
            row(f"load, CPU on one core ({workload})", f"<= {LOAD_BUDGET:.2f}", value, lambda v: v <= LOAD_BUDGET)
        elif workload == "persist-always":
            speeds = [of(workload, name, "requests_per_s") for name in ("gyre", "valkey")]
            row(f"throughput, 50 clients, appendfsync always ({workload})", f">= {ALWAYS_BUDGET:.2f}",
                quotient(*speeds), lambda value: value >= ALWAYS_BUDGET)
    return rows


def fsync_us(directory, times=100):
    """What the disk takes for 4 KiB appended and synced, median: `always` can be understood only next to it."""
    path = Path(directory, "fsync-probe")
    path.parent.mkdir(parents=True, exist_ok=True)
    taken = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            began = time.monotonic()
            os.fdatasync(file.fileno())
            taken.append(time.monotonic() - began)
    path.unlink()
    return statistics.median(taken) * 1e6
