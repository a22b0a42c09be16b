"""Watches a server from the side: the worst time that a reply took, and a light load of writes meanwhile. Both are processes of
their own, so that whoever measures does not disturb what is measured. The prober runs at real-time priority where it may, for a
wait of its own would pass for one of the server's."""

import array
import gc
import multiprocessing
import os
import select
import socket
import time

TICK_S = 0.001
CONNECTIONS_PER_SHARD = 4
KEYS_ASKED = 64
# Longer replies than this are kept one by one; of the others there is nothing to tell.
NOTABLE_S = 0.0002
REPLY_TIMEOUT_S = 120
WRITES_PER_BATCH = 50
BATCH_INTERVAL_S = 0.01
VALUE = b"w" * 64


def request(*args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = arg if isinstance(arg, bytes) else str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


class Client:
    """A connection that sends one command and reads one reply."""

    def __init__(self, port, timeout_s=REPLY_TIMEOUT_S):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.replies = self.socket.makefile("rb")

    def __call__(self, *args):
        self.socket.sendall(request(*args))
        return self.reply()

    def reply(self):
        line = self.replies.readline()
        if not line:
            raise RuntimeError("the server closed the connection")
        if line[:1] == b"-":
            raise RuntimeError(line[1:].decode().strip())
        if line[:1] == b"$" and line != b"$-1\r\n":
            return self.replies.read(int(line[1:]) + 2)[:-2].decode(errors="replace")
        return line[1:].decode(errors="replace").strip()

    def info(self, section):
        lines = self("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def run_prober(port, connections, per_tick, keys, stop, results):
    gc.disable()
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except (PermissionError, OSError):
        pass
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for one in sockets:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    requests = [request("PING")]
    for key in keys:
        requests += [request("GET", key), request("PING")]
    waiting, notable, late = {}, array.array("d"), array.array("d")
    turn = 0
    next_tick = time.monotonic()
    while not stop.is_set() or waiting:
        now = time.monotonic()
        if now >= next_tick:
            if now - next_tick > NOTABLE_S:
                late.extend((now, now - next_tick))
            next_tick = max(next_tick + TICK_S, now)
            for _ in range(per_tick if not stop.is_set() else 0):
                one = sockets[turn % connections]
                if one not in waiting:
                    waiting[one] = time.monotonic()
                    one.sendall(requests[(turn // connections) % len(requests)])
                turn += 1
        readable, _, _ = select.select(list(waiting), [], [], max(0.0, next_tick - time.monotonic()))
        now = time.monotonic()
        for one in readable:
            if not one.recv(4096):
                raise RuntimeError("the server closed the prober's connection")
            sent = waiting.pop(one)
            if now - sent > NOTABLE_S:
                notable.extend((sent, now - sent))
    results.send((notable, late))


class Prober:
    """Asks each shard about a thousand times a second, over `CONNECTIONS_PER_SHARD` connections a shard, by turns PING and GETs
    of keys on all of them. Connections are not waited for: one that has no reply is left out of the turn."""

    def __init__(self, port, shards, keys):
        self.stop = multiprocessing.Event()
        self.results, theirs = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.Process(
            target=run_prober, daemon=True,
            args=(port, shards * CONNECTIONS_PER_SHARD, shards, keys, self.stop, theirs))
        self.process.start()
        theirs.close()

    def finish(self):
        self.stop.set()
        if not self.results.poll(REPLY_TIMEOUT_S):
            self.process.kill()
            raise RuntimeError("the prober does not end")
        try:
            self.notable, self.late = self.results.recv()
        except EOFError:
            raise RuntimeError("the prober failed: did the server end?") from None
        self.process.join()

    def worst_s(self, since, until):
        """(the longest that a reply took which was asked for in this time, the longest that the prober itself came late)."""
        def worst(pairs):
            return max((pairs[i + 1] for i in range(0, len(pairs), 2) if since <= pairs[i] <= until), default=0.0)
        return worst(self.notable), worst(self.late)


def run_writer(port, prefix, keys, stop):
    client = Client(port)
    number, next_batch = 0, time.monotonic()
    while not stop.is_set():
        batch = []
        for _ in range(WRITES_PER_BATCH):
            # Steps that visit all keys, far from each other.
            number = (number + 7_368_787) % keys
            batch.append(request("SET", b"%s:%d" % (prefix, number), VALUE))
        client.socket.sendall(b"".join(batch))
        for _ in batch:
            client.reply()
        next_batch = max(next_batch + BATCH_INTERVAL_S, time.monotonic())
        time.sleep(max(0.0, next_batch - time.monotonic()))


class Writer:
    """Some 5,000 SETs of existing keys a second."""

    def __init__(self, port, prefix, keys):
        self.stop = multiprocessing.Event()
        self.process = multiprocessing.Process(target=run_writer, args=(port, prefix, keys, self.stop), daemon=True)
        self.process.start()

    def finish(self):
        self.stop.set()
        self.process.join(REPLY_TIMEOUT_S)
        if self.process.exitcode:
            raise RuntimeError("the load of writes failed")
        if self.process.is_alive():
            self.process.kill()
