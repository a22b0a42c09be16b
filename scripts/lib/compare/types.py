"""The pages of the data types: CPU of their common commands, memory of many small values and of a few large ones,
and how fast large ones answer. All three run the same requests against every server."""

import socket
import time

from .measure import CONNECTIONS, busy_s, parse_redis_benchmark
from .servers import Running

PIPELINE = 16
# Requests of one measurement per second of its length: about what redis-benchmark reaches on one core.
RATE = 300_000
# redis-benchmark writes random numbers with so many digits.
DIGITS = 12
RANDOM = "__rand_int__"
MEMBERS_PER_COMMAND = 100
COMMANDS_PER_BATCH = 200
LARGE = 5_000_000
SMALL_VALUES = 1_000_000


def number(value):
    return f"{value:0{DIGITS}d}"


# name: (what is sent before the measurement and how often (a share of the requests measured, or a number above 10), or None;
# command; range of random numbers)
COMMANDS = {
    "lpush": (None, ["LPUSH", "list", "element:" + RANDOM], 1_000_000),
    "lpop": ((1.2, ["RPUSH", "list", "element:" + RANDOM]), ["LPOP", "list"], 1_000_000),
    "sadd": (None, ["SADD", "set", "element:" + RANDOM], 100_000),
    "spop": ((1.2, ["SADD", "set", "element:" + RANDOM]), ["SPOP", "set"], 100_000_000),
    "hset": (None, ["HSET", "hash:" + RANDOM, "field:1", "value:" + RANDOM], 100_000),
    "hget": ((0.5, ["HSET", "hash:" + RANDOM, "a", "1", "b", "2", "field:1", "value:" + RANDOM]),
             ["HGET", "hash:" + RANDOM, "field:1"], 100_000),
    "hset-large": (None, ["HSET", "hash", "field:" + RANDOM, "value"], 100_000),
    "zadd": (None, ["ZADD", "zset", RANDOM, "member:" + RANDOM], 100_000),
    "zrangebyscore": ((0.5, ["ZADD", "zset", RANDOM, "member:" + RANDOM]),
                      ["ZRANGEBYSCORE", "zset", RANDOM, "+inf", "LIMIT", "0", "10"], 100_000),
    "xadd": (None, ["XADD", "stream", "*", "field", "value:" + RANDOM], 100_000),
    "lrange-100": ((600, ["RPUSH", "list", "element:" + RANDOM]), ["LRANGE", "list", "0", "99"], 100_000),
    "lrange-300": ((600, ["RPUSH", "list", "element:" + RANDOM]), ["LRANGE", "list", "0", "299"], 100_000),
    "lrange-600": ((600, ["RPUSH", "list", "element:" + RANDOM]), ["LRANGE", "list", "0", "599"], 100_000),
}
# Replies so long that fewer requests fill the time.
SHARE = {"lrange-100": 0.1, "lrange-300": 0.04, "lrange-600": 0.02}

# What a large value is asked, in the order in which it is printed.
LARGE_COMMANDS = {
    "zadd": ["ZADD", "large", RANDOM, "member:" + RANDOM],
    "zrank": ["ZRANK", "large", "member:" + RANDOM],
    "zrange": ["ZRANGE", "large", "(" + RANDOM, "+inf", "BYSCORE", "LIMIT", "0", "10"],
}


def benchmark(machine, running, command, requests, numbers):
    """Runs redis-benchmark and returns its row."""
    arguments = ["redis-benchmark", "-p", str(running.port), "-c", str(CONNECTIONS), "-n", str(requests),
                 "-P", str(PIPELINE), "-r", str(numbers), "--csv", *command]
    return parse_redis_benchmark(machine.client(arguments))


def measured(machine, running, command, requests, numbers):
    cpu, busy, began = running.cpu_s(), busy_s(), time.monotonic()
    row = benchmark(machine, running, command, requests, numbers)
    elapsed, cpu = time.monotonic() - began, running.cpu_s() - cpu
    return {
        "requests_per_s": float(row["rps"]),
        "cpu_us": cpu * 1e6 / requests,
        "server_share": cpu / elapsed,
        "p50_us": float(row["p50_latency_ms"]) * 1e3,
        "p99_us": float(row["p99_latency_ms"]) * 1e3,
        # redis-benchmark itself is in this figure, up to one core.
        "others_cores": max(0.0, (busy_s() - busy - cpu) / elapsed - 1.0),
    }


def cpu(machine, server, name, seconds):
    before, command, numbers = COMMANDS[name]
    requests = max(PIPELINE, int(RATE * seconds * SHARE.get(name, 1.0)))
    with Running(server, machine.server_cpu) as running:
        if before:
            count, first = before
            benchmark(machine, running, first, int(count if count > 10 else count * requests), numbers)
        return measured(machine, running, command, requests, numbers)


def encode(args):
    parts = [f"*{len(args)}\r\n"]
    for arg in args:
        parts.append(f"${len(arg)}\r\n{arg}\r\n")
    return "".join(parts).encode()


def groups(count, size):
    for first in range(0, count, size):
        yield range(first, min(first + size, count))


def hashes(count):
    for i in range(count):
        fields = [f"field{f}" for f in range(5)]
        yield ["HSET", f"hash:{i}", *[part for f in fields for part in (f, f"v{i % 10_000}")]]


def lists(count):
    for i in range(count):
        yield ["RPUSH", f"list:{i}", *[f"item:{(i + e) % 10_000}" for e in range(10)]]


def sets(count):
    for members in groups(count, MEMBERS_PER_COMMAND):
        yield ["SADD", "large", *["m:" + number(m) for m in members]]


def sorted_sets(count):
    for members in groups(count, MEMBERS_PER_COMMAND):
        # Scores in another order than members.
        pairs = ((str(m * 7_919 % count), "member:" + number(m)) for m in members)
        yield ["ZADD", "large", *[part for pair in pairs for part in pair]]


def streams(count):
    for i in range(count):
        yield ["XADD", "large", f"{i + 1}-1", "field", f"value:{i}"]


# name: (requests that fill it, how many things it then holds)
MEMORY = {
    "hashes": (hashes, SMALL_VALUES),
    "lists": (lists, SMALL_VALUES),
    "set": (sets, LARGE),
    "sorted-set": (sorted_sets, LARGE),
    "stream": (streams, LARGE),
}


def fill(running, commands):
    """Sends commands in batches and checks that none of them failed."""
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        replies = connection.makefile("rb")
        batch = []

        def send():
            connection.sendall(b"".join(batch))
            for _ in batch:
                line = replies.readline()
                if line[:1] == b"$":
                    line = replies.readline()
                if line[:1] == b"-" or not line:
                    raise RuntimeError(f"{running.server.name}: {line!r}")
            batch.clear()

        for command in commands:
            batch.append(encode(command))
            if len(batch) == COMMANDS_PER_BATCH:
                send()
        if batch:
            send()


def rss_bytes(running):
    with open(f"/proc/{running.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def memory(machine, server, name, share):
    commands, count = MEMORY[name]
    count = int(count * share)
    with Running(server, machine.server_cpu) as running:
        before = rss_bytes(running)
        fill(running, commands(count))
        return {"rss_per_key": (rss_bytes(running) - before) / count, "keys": count}


def large(machine, server, name, seconds, share):
    count = int(LARGE * share)
    with Running(server, machine.server_cpu) as running:
        fill(running, sorted_sets(count))
        return measured(machine, running, LARGE_COMMANDS[name], int(RATE * seconds / 2), count)
