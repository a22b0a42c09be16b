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
WRITES_PER_S = 5_000
BATCH_INTERVAL_S = 0.01
VALUE = b"w" * 64
ACK_INTERVAL_S = 0.2
SINK_PAUSE_S = 0.002


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


def run_writer(port, prefix, keys, per_batch, may_fail, stop):
    client = Client(port)
    number, next_batch = 0, time.monotonic()
    while not stop.is_set():
        batch = []
        for _ in range(per_batch):
            # Steps that visit all keys, far from each other.
            number = (number + 7_368_787) % keys
            batch.append(request("SET", b"%s:%d" % (prefix, number), VALUE))
        try:
            client.socket.sendall(b"".join(batch))
            for _ in batch:
                client.reply()
        except (RuntimeError, OSError):
            if may_fail:
                return
            raise
        next_batch = max(next_batch + BATCH_INTERVAL_S, time.monotonic())
        time.sleep(max(0.0, next_batch - time.monotonic()))


class Writer:
    """So many SETs of existing keys a second. With `may_fail` it ends when it is refused."""

    def __init__(self, port, prefix, keys, per_s=WRITES_PER_S, may_fail=False):
        self.stop = multiprocessing.Event()
        args = (port, prefix, keys, int(per_s * BATCH_INTERVAL_S), may_fail, self.stop)
        self.process = multiprocessing.Process(target=run_writer, args=args, daemon=True)
        self.process.start()

    def finish(self):
        self.stop.set()
        self.process.join(REPLY_TIMEOUT_S)
        if self.process.exitcode:
            raise RuntimeError("the load of writes failed")
        if self.process.is_alive():
            self.process.kill()


def run_sink(port, ready):
    """Takes a snapshot and the stream behind it, and acknowledges what has come."""
    connection = socket.create_connection(("127.0.0.1", port))
    replies = connection.makefile("rb")

    def line():
        while True:
            # Servers send newlines while they prepare a snapshot.
            text = replies.readline()
            if not text:
                raise RuntimeError("the server closed the connection of a replica")
            if text.strip():
                return text.strip()

    for command in (["PING"], ["REPLCONF", "listening-port", "1"], ["REPLCONF", "capa", "eof", "capa", "psync2"]):
        connection.sendall(request(*command))
        line()
    connection.sendall(request("PSYNC", "?", "-1"))
    offset = int(line().split()[2])
    head = line()[1:]
    if head.startswith(b"EOF:"):
        mark, tail = head[4:], b""
        while not tail.endswith(mark):
            # It may not take anything of the stream, which begins when the snapshot has been acknowledged.
            tail = tail[-len(mark):] + replies.read1(1 << 16)
    else:
        replies.read(int(head))
    del replies
    ready.set()
    buffer, next_ack = bytearray(1 << 20), 0.0
    connection.settimeout(ACK_INTERVAL_S)
    while True:
        if time.monotonic() >= next_ack:
            connection.sendall(request("REPLCONF", "ACK", offset))
            next_ack = time.monotonic() + ACK_INTERVAL_S
        try:
            count = connection.recv_into(buffer)
        except TimeoutError:
            continue
        if not count:
            return
        offset += count
        # More comes at once then, which is less work for both.
        time.sleep(SINK_PAUSE_S)


class Sink:
    """A replica that keeps nothing, so that it takes next to nothing of the core that it shares with a load."""

    def __init__(self, port):
        ready = multiprocessing.Event()
        self.process = multiprocessing.Process(target=run_sink, args=(port, ready), daemon=True)
        self.process.start()
        if not ready.wait(REPLY_TIMEOUT_S):
            self.process.kill()
            raise RuntimeError("no snapshot came")

    def finish(self):
        self.process.kill()
        self.process.join()
