"""The page of replication: what a replica costs its master, how fast a replica applies, what a full synchronisation takes, how far a
replica is behind under load, and how long a failover lasts. Master and replica are of the same kind each time."""

import contextlib
import os
import signal
import statistics
import subprocess
import time
from pathlib import Path

from . import measure
from .persist import MIB, children, fill, keys_of, private_bytes, quotient, require_memory, rss, with_args
from .probe import Client, Sink, Writer
from .servers import Running, Server, free_port

PREFIX = b"key"
SYNC_TIMEOUT_S = 900
SHORT_TIMEOUT_S = 60
POLL_S = 0.02
# Commands that wait for the replica which is to apply them, for each second that a measurement may last.
APPLIED_PER_S = 400_000
SET_BYTES_IN_STREAM = 128
SYNC_WRITES_PER_S = 20_000
# Data of a master and of its replica, and what a save may take.
SYNC_MEMORY_SHARE = 2.0
LAG_RATE = 30_000
FAILOVERS = 5
SENTINEL_DOWN_AFTER_MS = 500
MASTER_BUDGET = 1.25
APPLY_BUDGET = 2.0
SYNC_BUDGET = 0.7
SYNC_MEMORY_BUDGET_MIB = 64
NOT_SUPPORTED = "not supported"


def replicating(server, *args):
    """This server with what both sides of a link need, so that neither waits for others to come."""
    return with_args(server.name, server, "--repl-diskless-sync-delay", "0", "--repl-timeout", "600",
                     "--enable-debug-command", "yes", *args)


def wait_until(what, done, timeout_s=SHORT_TIMEOUT_S, poll_s=POLL_S):
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come in {timeout_s} s")
        time.sleep(poll_s)


def offset(client, field):
    return int(client.info("replication").get(field, -1))


def is_up(client):
    return client.info("replication").get("master_link_status") == "up"


def is_level(master, replica):
    return is_up(replica) and offset(replica, "slave_repl_offset") >= offset(master, "master_repl_offset")


def follow(replica, port):
    replica("REPLICAOF", "127.0.0.1", port)


@contextlib.contextmanager
def pair(server, master_cpu, replica_cpus, *args):
    """A master, with these arguments, and its replicas, that have what it has: (master, its client, [(replica, its client)])."""
    with contextlib.ExitStack() as stack:
        master = stack.enter_context(Running(replicating(server, *args), master_cpu))
        client = Client(master.port)
        replicas = []
        for cpu in replica_cpus:
            replica = stack.enter_context(Running(replicating(server), cpu))
            its_client = Client(replica.port)
            follow(its_client, master.port)
            replicas.append((replica, its_client))
        for _, its_client in replicas:
            wait_until("the first synchronisation", lambda c=its_client: is_level(client, c))
        yield master, client, replicas


def write(machine, port, requests, pipeline):
    """Sets, by redis-benchmark."""
    arguments = ["redis-benchmark", "-p", str(port), "-c", str(measure.CONNECTIONS), "-n", str(requests), "-P", str(pipeline),
                 "-d", str(measure.VALUE_BYTES), "-r", str(measure.KEYS), "-t", "set", "--csv"]
    return float(measure.parse_redis_benchmark(machine.client(arguments))["rps"])


def master_cpu(machine, server, replicas, pipeline, seconds):
    """What a write costs a master that has so many replicas. These take the stream and keep nothing: one that works would take the
    core from the load, and a master that has less to do at a time does each of it at a higher price."""
    with Running(replicating(server), machine.server_cpu) as master:
        client = Client(master.port)
        measure.fill(machine, master)
        sinks = []
        try:
            for _ in range(replicas):
                sinks.append(Sink(master.port))
            wait_until("the replicas", lambda: client.info("replication")["connected_slaves"] == str(replicas))
            arguments = ["run", "--mix", "set", "-c", measure.CONNECTIONS, "-P", pipeline, "--keys", measure.KEYS,
                         "--warmup", min(1.0, seconds / 3), "--duration", seconds]
            found = measure.figures(measure.load(machine, master, arguments))
            states = [client.info("replication").get(f"slave{number}", "") for number in range(replicas)]
            if not all("state=online" in state for state in states):
                raise RuntimeError(f"{server.name}: a replica was lost: {states}")
            return found
        finally:
            for sink in sinks:
                sink.finish()


def apply(machine, server, seconds, pinned=True):
    """How fast a replica applies what has come while it stood still."""
    commands = int(APPLIED_PER_S * seconds)
    backlog = str(commands * SET_BYTES_IN_STREAM + (64 << 20))
    cpus = (machine.client_cpu, machine.server_cpu) if pinned else (None, None)
    limits = ["--repl-backlog-size", backlog, "--client-output-buffer-limit", "replica 0 0 0"]
    with pair(server, cpus[0], [cpus[1]], *limits) as (master, client, [(replica, its_client)]):
        os.kill(replica.pid, signal.SIGSTOP)
        try:
            write(machine, master.port, commands, 16)
            wanted = offset(client, "master_repl_offset")
            cpu, busy = replica.cpu_s(), measure.busy_s()
        finally:
            os.kill(replica.pid, signal.SIGCONT)
        began = time.monotonic()
        wait_until("the end of the stream", lambda: offset(its_client, "slave_repl_offset") >= wanted, SYNC_TIMEOUT_S)
        elapsed, cpu = time.monotonic() - began, replica.cpu_s() - cpu
        if client.info("stats")["sync_full"] != "1":
            raise RuntimeError(f"{server.name}: the replica was dropped and took another snapshot")
        return {
            "commands_per_s": commands / elapsed,
            "cpu_us": cpu * 1e6 / commands,
            "server_share": cpu / elapsed,
            # The master is in this figure, up to one core.
            "others_cores": max(0.0, (measure.busy_s() - busy - cpu) / elapsed - 1.0),
        }


def full_sync(server, gib):
    """A full synchronisation under writes: its seconds, and the master's memory beyond what it had."""
    require_memory(gib * SYNC_MEMORY_SHARE)
    strings, hashes = keys_of(gib)
    with Running(replicating(server), None) as master, Running(replicating(server), None) as replica:
        client, its_client = Client(master.port), Client(replica.port)
        fill(client, strings, hashes)
        writer = Writer(master.port, PREFIX, strings, SYNC_WRITES_PER_S)
        time.sleep(1)
        before = most = rss(master.pid)
        began = time.monotonic()
        follow(its_client, master.port)
        while not is_up(its_client):
            most = max(most, rss(master.pid) + sum(private_bytes(child) for child in children(master.pid)))
            if time.monotonic() - began > SYNC_TIMEOUT_S:
                raise RuntimeError(f"{server.name}: no synchronisation in {SYNC_TIMEOUT_S} s")
            time.sleep(POLL_S)
        elapsed = time.monotonic() - began
        writer.finish()
        wait_until("what was written meanwhile", lambda: is_level(client, its_client))
        return {
            "sync_s": elapsed,
            "level_s": time.monotonic() - began,
            "extra_mib": (most - before) / MIB,
            "syncs": int(client.info("stats")["sync_full"]),
            "rss_mib": before / MIB,
            "keys": strings + hashes,
        }


def lag(machine, server, seconds):
    """How far a replica is behind while its master is written to: when it has what the master had at a moment, and how many bytes it
    lacks at one."""
    with pair(server, machine.server_cpu, [machine.client_cpu]) as (master, client, [(_, its_client)]):
        writer = Writer(master.port, PREFIX, measure.KEYS, LAG_RATE)
        time.sleep(0.5)
        times, lacking = [], []
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            there = offset(its_client, "slave_repl_offset")
            wanted, asked = offset(client, "master_repl_offset"), time.monotonic()
            lacking.append(max(0, wanted - there))
            while offset(its_client, "slave_repl_offset") < wanted:
                if time.monotonic() - asked > SHORT_TIMEOUT_S:
                    raise RuntimeError(f"{server.name}: the replica stays behind")
            times.append(time.monotonic() - asked)
            time.sleep(0.01)
        writer.finish()
        times.sort()
        return {
            "lag_ms": statistics.median(times) * 1e3,
            "lag_p99_ms": times[int(len(times) * 0.99)] * 1e3,
            "lag_bytes": statistics.median(lacking),
            "lag_most_bytes": max(lacking),
        }


def until_it_accepts(port, began):
    """Milliseconds until a server takes writes. Sentinel has it close its connections."""
    client = None
    while True:
        try:
            client = client or Client(port)
            client("SET", "switched", "yes")
            return (time.monotonic() - began) * 1e3
        except (RuntimeError, OSError) as error:
            if time.monotonic() - began > SHORT_TIMEOUT_S:
                raise
            if "READONLY" not in str(error):
                client = None
        time.sleep(0.001)


def failover(server):
    """FAILOVER there and back, under writes: how long until the new master takes one."""
    with pair(server, None, [None]) as (master, client, [(replica, its_client)]):
        sides, taken = [(master, client), (replica, its_client)], []
        for _ in range(FAILOVERS):
            (old, of_old), (new, _) = sides
            writer = Writer(old.port, PREFIX, measure.KEYS, SYNC_WRITES_PER_S, may_fail=True)
            time.sleep(0.5)
            began = time.monotonic()
            try:
                of_old("FAILOVER")
                taken.append(until_it_accepts(new.port, began))
            except RuntimeError as error:
                if "unknown command" in str(error):
                    return {"notes": NOT_SUPPORTED}
                raise
            finally:
                writer.finish()
            sides.reverse()
            (_, of_old), (_, of_new) = sides
            wait_until("the old master as a replica", lambda a=of_old, b=of_new: is_level(a, b))
        return {"switch_ms": statistics.median(taken), "switch_most_ms": max(taken)}


def sentinel_failover(server, sentinel_binary):
    """The master is killed; one Sentinel, which calls it down after half a second, has the replica take over."""
    with pair(server, None, [None]) as (master, _, [(replica, _)]):
        port = free_port()
        file = Path(master.directory, "sentinel.conf")
        file.write_text(f"port {port}\nbind 127.0.0.1\ndir {master.directory}\n"
                        f"sentinel monitor watched 127.0.0.1 {master.port} 1\n"
                        f"sentinel down-after-milliseconds watched {SENTINEL_DOWN_AFTER_MS}\n"
                        "sentinel failover-timeout watched 10000\n")
        with open(Path(master.directory, "sentinel.log"), "wb") as log:
            sentinel = subprocess.Popen([sentinel_binary, str(file), "--sentinel"], stdout=log, stderr=log)
        try:
            def knows():
                try:
                    told = Client(port).info("sentinel").get("master0", "")
                except (OSError, RuntimeError):
                    return False
                return "slaves=1" in told and "status=ok" in told

            wait_until("Sentinel's knowledge of the replica", knows)
            # It asks each server every second or so, and has to have asked the replica.
            time.sleep(2)
            began = time.monotonic()
            master.process.kill()
            return {"switch_ms": until_it_accepts(replica.port, began)}
        finally:
            sentinel.kill()
            sentinel.wait()


def workloads(machine, options, found):
    """As `workloads` of scripts/compare."""
    plan, seconds = [], options.seconds
    servers = {name: server for name, server in found.items() if not server.is_floor}
    for pipeline in (1, 16):
        for replicas in (0, 1, 2):
            plan.append((f"repl-master-p{pipeline}-{replicas}", False, servers,
                         lambda server, _, r=replicas, p=pipeline: master_cpu(machine, server, r, p, seconds)))
    plan.append(("repl-apply", False, servers, lambda server, _: apply(machine, server, seconds)))
    if "gyre" in servers:
        two = {"gyre-2-shards": Server("gyre-2-shards", servers["gyre"].binary, ["--shards", "2"])}
        plan.append(("repl-apply-unpinned", False, servers | two,
                     lambda server, _: apply(machine, server, seconds, pinned=False)))
    for gib in options.sync_gib:
        plan.append((f"repl-sync-{gib:g}g", False, servers, lambda server, _, g=gib: full_sync(server, g)))
    plan.append(("repl-lag", False, servers, lambda server, _: lag(machine, server, seconds)))
    plan.append(("repl-failover", False, servers, lambda server, _: failover(server)))
    if "redis" in servers:
        plan.append(("repl-sentinel", False, servers,
                     lambda server, _: sentinel_failover(server, servers["redis"].binary)))
    return plan


def budget_rows(summary):
    """Rows as report.budget_rows makes them, for what has been measured: (what, bound, value, None, met)."""
    rows = []

    def of(workload, server, figure):
        return summary.get(workload, {}).get(server, {}).get(figure)

    def row(what, bound, value, met):
        rows.append((what, bound, value, None, None if value is None else met(value)))

    for pipeline in (1, 16):
        alone, one = f"repl-master-p{pipeline}-0", f"repl-master-p{pipeline}-1"
        if alone in summary and one in summary:
            ratios = {name: quotient(of(one, name, "cpu_us"), of(alone, name, "cpu_us")) for name in ("gyre", "valkey")}
            own = "" if ratios["valkey"] is None else f"; Valkey's own is {ratios['valkey']:.2f}"
            row(f"a master's CPU a write, one replica / none, P={pipeline}{own}", f"<= {MASTER_BUDGET:.2f}", ratios["gyre"],
                lambda value: value <= MASTER_BUDGET)
    if "repl-apply" in summary:
        row("commands a second that a replica applies", f">= {APPLY_BUDGET:.2f}",
            quotient(of("repl-apply", "gyre", "commands_per_s"), of("repl-apply", "valkey", "commands_per_s")),
            lambda value: value >= APPLY_BUDGET)
    for workload in [name for name in summary if name.startswith("repl-sync-")]:
        row(f"full sync under writes, seconds ({workload})", f"<= {SYNC_BUDGET:.2f}",
            quotient(of(workload, "gyre", "sync_s"), of(workload, "valkey", "sync_s")), lambda value: value <= SYNC_BUDGET)
        row(f"a master's extra memory in a full sync, MiB ({workload})", f"<= {SYNC_MEMORY_BUDGET_MIB}",
            of(workload, "gyre", "extra_mib"), lambda value: value <= SYNC_MEMORY_BUDGET_MIB)
    return rows
