"""One measurement each: a workload against a fresh server. All return a flat dict of figures."""

import csv
import io
import json
import subprocess
import tempfile
import time
from pathlib import Path

from .servers import Running

CONNECTIONS = 50
KEYS = 100_000
KEY_BYTES = 11
VALUE_BYTES = 64
# Requests per second that redis-benchmark about reaches, to choose how many requests last long enough.
REDIS_BENCHMARK_RATE = {1: 100_000, 16: 800_000}
COMMAND_TIMEOUT_S = 600
QUIET_SAMPLE_S = 0.5
QUIET_CORES = 0.1


class Machine:
    """Where things run: tools, cores, and how busy everything else is."""

    def __init__(self, tools, server_cpu, client_cpu):
        self.tools, self.server_cpu, self.client_cpu = tools, server_cpu, client_cpu

    def client(self, command, pinned=True):
        if pinned and self.client_cpu is not None:
            command = ["taskset", "-c", str(self.client_cpu), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
        return done.stdout


def busy_s():
    """CPU seconds all cores have spent on anything since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields[:8]
    return (user + nice + system + irq + softirq + steal) / 100


def wait_quiet(patience_s):
    """Returns when the machine does next to nothing, or after `patience_s`."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        busy, began = busy_s(), time.monotonic()
        time.sleep(QUIET_SAMPLE_S)
        if (busy_s() - busy) / (time.monotonic() - began) < QUIET_CORES:
            return


def load(machine, running, arguments, pinned=True, percentiles=False):
    """Runs gyre-load and returns its JSON; with `percentiles` also [(percentile, us)]."""
    with tempfile.TemporaryDirectory(prefix="gyre-compare-") as directory:
        result, curve = Path(directory, "result.json"), Path(directory, "latency.csv")
        command = [str(machine.tools / "gyre-load"), *map(str, arguments), "--port", str(running.port),
                   "--key-length", str(KEY_BYTES), "--value-size", str(VALUE_BYTES),
                   "--server-pid", str(running.pid), "--json", str(result)]
        if percentiles:
            command += ["--histogram", str(curve)]
        busy, began = busy_s(), time.monotonic()
        machine.client(command, pinned)
        found = json.loads(result.read_text())
        elapsed = time.monotonic() - began
        ours = (found["server"]["cpu_share"] + found["client_cpu_share"]) * elapsed
        found["others_cores"] = max(0.0, busy_s() - busy - ours) / elapsed
        if percentiles:
            rows = list(csv.DictReader(curve.open()))
            found["curve"] = [(float(row["percentile"]), float(row["latency_us"])) for row in rows]
        return found


def figures(found):
    latency, server = found["latency_us"], found["server"]
    return {
        "requests_per_s": found["requests_per_s"],
        "cpu_us": server["cpu_us_per_request"],
        "server_share": server["cpu_share"],
        "client_share": found["client_cpu_share"],
        "client_cpu_us": found["client_cpu_us_per_request"],
        "p50_us": latency["p50"],
        "p99_us": latency["p99"],
        "p99_9_us": latency["p99_9"],
        "others_cores": found["others_cores"],
    }


def fill(machine, running, keys=KEYS):
    if not running.server.is_floor:
        return load(machine, running, ["fill", "--keys", keys])
    return None


def redis_benchmark(machine, server, command, pipeline, seconds):
    with Running(server, machine.server_cpu) as running:
        fill(machine, running)
        requests = int(REDIS_BENCHMARK_RATE[pipeline] * seconds)
        arguments = ["redis-benchmark", "-p", str(running.port), "-c", str(CONNECTIONS), "-n", str(requests),
                     "-P", str(pipeline), "-d", str(VALUE_BYTES), "-r", str(KEYS), "-t", command, "--csv"]
        cpu, busy, began = running.cpu_s(), busy_s(), time.monotonic()
        output = machine.client(arguments)
        elapsed, cpu = time.monotonic() - began, running.cpu_s() - cpu
        others = busy_s() - busy - cpu
        row = parse_redis_benchmark(output)
        return {
            "requests_per_s": float(row["rps"]),
            "cpu_us": cpu * 1e6 / requests,
            "server_share": cpu / elapsed,
            "p50_us": float(row["p50_latency_ms"]) * 1e3,
            "p99_us": float(row["p99_latency_ms"]) * 1e3,
            # redis-benchmark itself is in this figure, up to one core.
            "others_cores": max(0.0, others / elapsed - 1.0),
        }


def parse_redis_benchmark(output):
    """The one row of redis-benchmark's CSV, which warnings may precede."""
    lines = output.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith('"test"')]
    if not heads:
        raise RuntimeError(f"no CSV in what redis-benchmark printed: {output[-300:]}")
    return next(csv.DictReader(io.StringIO("\n".join(lines[heads[0]:]))))


def saturated(machine, server, command, pipeline, seconds, pinned=True):
    with Running(server, machine.server_cpu if pinned else None) as running:
        fill(machine, running)
        arguments = ["run", "--mix", command, "-c", CONNECTIONS, "-P", pipeline, "--keys", KEYS,
                     "--warmup", min(1.0, seconds / 3), "--duration", seconds]
        return figures(load(machine, running, arguments, pinned))


def offered(machine, server, command, rate, seconds):
    with Running(server, machine.server_cpu) as running:
        fill(machine, running)
        arguments = ["run", "--mix", command, "-c", CONNECTIONS, "--keys", KEYS, "--rate", f"{rate:.0f}",
                     "--warmup", min(1.0, seconds / 3), "--duration", seconds]
        found = load(machine, running, arguments, percentiles=True)
        return figures(found) | {"offered_per_s": rate, "curve": found["curve"]}


def memory(machine, server, keys):
    with Running(server, machine.server_cpu) as running:
        found = fill(machine, running, keys)
        return {
            "rss_per_key": found["server"]["rss_per_reply_bytes"],
            "rss_bytes": found["server"]["rss_after_bytes"],
            "keys": keys,
            "others_cores": found["others_cores"],
        }


def idle(machine, server, seconds):
    with Running(server, machine.server_cpu) as running:
        time.sleep(1)  # What a server does right after its start is not idling.
        cpu, began = running.cpu_s(), time.monotonic()
        time.sleep(seconds)
        return {"idle_percent": 100 * (running.cpu_s() - cpu) / (time.monotonic() - began)}
