"""redis-py against Gyre, used as applications use it.

The server is the binary named by GYRE_SERVER, or the one that `cargo build` leaves; it listens on a free port and ends
with the tests.
"""

import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10
THREADS = 8


def binary():
    if "GYRE_SERVER" in os.environ:
        return pathlib.Path(os.environ["GYRE_SERVER"])
    root = pathlib.Path(__file__).resolve().parents[2]
    target = root / os.environ.get("CARGO_TARGET_DIR", "target")
    return target / "debug" / "gyre-server"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    def __init__(self, *options):
        self.directory = tempfile.TemporaryDirectory(prefix="gyre-python-")
        self.port = free_port()
        self.log = open(pathlib.Path(self.directory.name) / "log", "wb")
        command = [binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", *options]
        self.process = subprocess.Popen(
            command, cwd=self.directory.name, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.process.kill()
                    log = pathlib.Path(self.log.name).read_text(errors="replace")
                    raise RuntimeError(f"{command} does not start:\n{log}") from None
                time.sleep(0.01)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.log.close()
        self.directory.cleanup()
        return status


class Commands:
    """Everything here must hold for RESP2 and RESP3, on one shard and on several."""

    protocol = None
    shards = 2

    @classmethod
    def setUpClass(cls):
        cls.server = Server("--shards", str(cls.shards))

    @classmethod
    def tearDownClass(cls):
        status = cls.server.stop()
        assert status == 0, f"the server ended with {status}"

    def setUp(self):
        self.clients = []
        self.r = self.client(decode_responses=True)
        self.r.flushall()

    def tearDown(self):
        for client in self.clients:
            client.close()
            client.connection_pool.disconnect()

    def client(self, **options):
        client = redis.Redis(host="127.0.0.1", port=self.server.port, protocol=self.protocol, **options)
        self.clients.append(client)
        return client

    def test_bytes_and_text(self):
        plain = self.client()
        every_byte = bytes(range(256))
        self.assertIs(plain.set("key", every_byte), True)
        self.assertEqual(plain.get("key"), every_byte)
        self.assertIsNone(plain.get("none"))
        self.r.set("text", "héllo wörld \u2603")
        self.assertEqual(self.r.get("text"), "héllo wörld \u2603")
        self.assertEqual(plain.get("text").decode(), "héllo wörld \u2603")
        self.r.set("number", 1.5)
        self.assertEqual(self.r.get("number"), "1.5")

    def test_string_commands(self):
        self.assertIs(self.r.set("a", 1, nx=True), True)
        self.assertIsNone(self.r.set("a", 2, nx=True))
        self.assertEqual(self.r.set("a", 3, get=True), "1")
        self.assertEqual(self.r.incr("a"), 4)
        self.assertEqual(self.r.decrby("a", 2), 2)
        self.assertAlmostEqual(self.r.incrbyfloat("a", 0.5), 2.5)
        self.assertEqual(self.r.append("a", "xyz"), 6)
        self.assertEqual(self.r.getrange("a", 0, 2), "2.5")
        self.assertEqual(self.r.setrange("a", 1, "__"), 6)
        self.assertEqual(self.r.strlen("a"), 6)
        self.assertEqual(self.r.getdel("a"), "2__xyz")
        self.assertEqual(self.r.exists("a"), 0)
        self.r["item"] = "value"
        self.assertEqual(self.r["item"], "value")
        self.assertIn("item", self.r)
        del self.r["item"]
        with self.assertRaises(KeyError):
            self.r["item"]

    def test_many_keys_over_shards(self):
        wanted = {f"key:{n}": str(n) for n in range(200)}
        self.assertIs(self.r.mset(wanted), True)
        names = list(wanted)
        self.assertEqual(self.r.mget(names), list(wanted.values()))
        self.assertEqual(self.r.mget("key:1", "none", "key:2"), ["1", None, "2"])
        self.assertIs(self.r.msetnx({"key:1": "x", "new": "x"}), False)
        self.assertIsNone(self.r.get("new"))
        self.assertEqual(self.r.exists(*names, "none"), 200)
        self.assertEqual(self.r.touch(*names), 200)
        self.assertEqual(self.r.dbsize(), 200)
        self.assertEqual(self.r.delete(*names[:150]), 150)
        self.assertEqual(self.r.unlink(*names), 50)
        self.assertIsNone(self.r.randomkey())

    def test_keys_move(self):
        self.r.set("a", 1)
        self.assertIs(self.r.rename("a", "b"), True)
        self.assertIs(self.r.copy("b", "c"), True)
        self.assertIs(self.r.renamenx("b", "c"), False)
        self.assertEqual(self.r.type("c"), "string")
        self.assertEqual(sorted(self.r.keys("*")), ["b", "c"])

    def test_scan_iter(self):
        wanted = {f"scan:{n}" for n in range(1000)}
        self.r.mset({key: 1 for key in wanted})
        self.r.mset({f"other:{n}": 1 for n in range(100)})
        self.assertEqual(set(self.r.scan_iter("scan:*", count=37)), wanted)
        self.assertEqual(set(self.r.scan_iter("scan:*", _type="string")), wanted)
        self.assertEqual(set(self.r.scan_iter("scan:*", _type="list")), set())
        self.assertEqual(len(set(self.r.scan_iter())), 1100)

    def test_expiry(self):
        self.r.set("a", 1, ex=100)
        self.assertTrue(90 < self.r.ttl("a") <= 100)
        self.assertIs(self.r.persist("a"), True)
        self.assertEqual(self.r.ttl("a"), -1)
        self.assertEqual(self.r.ttl("none"), -2)
        self.assertIs(self.r.expire("a", 200, nx=True), True)
        self.assertIs(self.r.expire("a", 100, gt=True), False)
        at = int(time.time()) + 1000
        self.assertIs(self.r.expireat("a", at), True)
        self.assertEqual(self.r.expiretime("a"), at)
        self.assertEqual(self.r.getex("a", px=60_000), "1")
        self.assertTrue(50_000 < self.r.pttl("a") <= 60_000)
        for n in range(50):
            self.r.psetex(f"soon:{n}", 30, "x")
        time.sleep(0.06)
        self.assertEqual(self.r.mget([f"soon:{n}" for n in range(50)]), [None] * 50)
        self.assertEqual(self.r.exists("a"), 1)

    def test_pipeline_without_transaction(self):
        with self.r.pipeline(transaction=False) as pipe:
            for n in range(1000):
                pipe.set(f"key:{n}", n)
            for n in range(1000):
                pipe.get(f"key:{n}")
            replies = pipe.execute()
        self.assertEqual(replies, [True] * 1000 + [str(n) for n in range(1000)])

    def test_pipeline_in_transaction(self):
        with self.r.pipeline(transaction=True) as pipe:
            pipe.set("a", 1).incr("a").set("b", "x").mget("a", "b", "none").ttl("a")
            self.assertEqual(pipe.execute(), [True, 2, True, ["2", "x", None], -1])

    def test_errors_in_pipelines(self):
        for transaction in (False, True):
            self.r.set("word", "x")
            with self.r.pipeline(transaction=transaction) as pipe:
                pipe.set("a", 1).incr("word").get("a")
                replies = pipe.execute(raise_on_error=False)
            self.assertEqual((replies[0], replies[2]), (True, "1"))
            self.assertIsInstance(replies[1], redis.ResponseError)
            with self.r.pipeline(transaction=transaction) as pipe:
                pipe.incr("word")
                with self.assertRaisesRegex(redis.ResponseError, "value is not an integer or out of range"):
                    pipe.execute()
        with self.r.pipeline(transaction=True) as pipe:
            pipe.set("kept", 1).execute_command("GET")
            with self.assertRaises(redis.ResponseError):
                pipe.execute()
        self.assertIsNone(self.r.get("kept"))

    def test_watch_notices_a_change(self):
        other = self.client()
        with self.r.pipeline() as pipe:
            pipe.watch("a", "b")
            other.set("b", 1)
            pipe.multi()
            pipe.set("a", 1)
            with self.assertRaises(redis.WatchError):
                pipe.execute()
            pipe.watch("a")
            other.set("b", 2)
            pipe.multi()
            pipe.set("a", 1)
            self.assertEqual(pipe.execute(), [True])

    def increment_watched(self, times):
        client = self.client()
        for _ in range(times):
            with client.pipeline() as pipe:
                while True:
                    try:
                        pipe.watch("counter", "copy")
                        value = int(pipe.get("counter") or 0)
                        pipe.multi()
                        pipe.mset({"counter": value + 1, "copy": value + 1})
                        pipe.execute()
                        break
                    except redis.WatchError:
                        continue

    def test_watch_with_retry_loses_no_increment(self):
        self.in_threads(lambda _: self.increment_watched(25))
        self.assertEqual(self.r.mget("counter", "copy"), [str(THREADS * 25)] * 2)

    def test_transaction_helper_retries(self):
        self.r.set("a", 0)
        interfering = self.client()
        attempts = []

        def raise_it(pipe):
            value = int(pipe.get("a"))
            attempts.append(value)
            if len(attempts) < 3:
                interfering.incr("a")
            pipe.multi()
            pipe.set("a", value + 10)

        self.assertEqual(self.r.transaction(raise_it, "a"), [True])
        self.assertEqual((attempts, self.r.get("a")), ([0, 1, 2], "12"))

    def in_threads(self, work):
        failures = []

        def guarded(n):
            try:
                work(n)
            except BaseException as failure:
                failures.append(failure)

        threads = [threading.Thread(target=guarded, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def test_a_pool_shared_by_threads(self):
        pool = redis.BlockingConnectionPool(
            host="127.0.0.1", port=self.server.port, protocol=self.protocol, max_connections=3, timeout=20
        )
        shared = redis.Redis(connection_pool=pool)

        def work(thread):
            for n in range(200):
                key = f"key:{thread}:{n}"
                shared.set(key, n)
                self.assertEqual(int(shared.get(key)), n)
                shared.incr("all")

        self.in_threads(work)
        self.assertEqual(int(shared.get("all")), THREADS * 200)
        self.assertEqual(self.r.dbsize(), THREADS * 200 + 1)
        pool.disconnect()

    def test_errors_are_exceptions(self):
        with self.assertRaisesRegex(redis.ResponseError, "unknown command 'NOSUCH'"):
            self.r.execute_command("NOSUCH", "x")
        with self.assertRaisesRegex(redis.ResponseError, "wrong number of arguments for 'get' command"):
            self.r.execute_command("GET")
        with self.assertRaisesRegex(redis.ResponseError, "syntax error"):
            self.r.execute_command("SET", "a", "1", "XX", "NX")
        with self.assertRaisesRegex(redis.ResponseError, "invalid expire time in 'set' command"):
            self.r.set("a", 1, ex=0)
        with self.assertRaisesRegex(redis.ResponseError, "no such key"):
            self.r.rename("none", "other")
        with self.assertRaisesRegex(redis.ResponseError, "DB index is out of range"):
            self.r.execute_command("SELECT", "99999")
        self.assertIs(self.r.ping(), True)

    def test_a_connection_tells_its_name_library_and_protocol(self):
        named = self.client(client_name="worker-1", decode_responses=True)
        # One connection for both, as the pool might hand out another.
        info = named.client_info()
        self.assertEqual(info["name"], "worker-1")
        self.assertIn("redis-py", info["lib-name"])
        self.assertTrue(info["lib-ver"].startswith(redis.__version__))
        self.assertEqual(str(info["resp"]), str(self.protocol))
        self.assertEqual(named.client_getname(), "worker-1")
        self.assertIs(named.client_setinfo("lib-name", "mine"), True)
        self.assertIn("mine", {client["lib-name"] for client in self.r.client_list()})
        self.assertIs(named.client_kill_filter(_id=info["id"], skipme=False) == 1, True)
        # The pool connects anew.
        self.assertIs(named.ping(), True)
        self.assertNotEqual(named.client_id(), info["id"])

    def test_databases_are_apart(self):
        second = self.client(db=2, decode_responses=True)
        second.set("a", "two")
        self.assertIsNone(self.r.get("a"))
        self.assertIs(second.move("a", 0), True)
        self.assertEqual(self.r.get("a"), "two")
        self.r.swapdb(0, 2)
        self.assertEqual(second.get("a"), "two")
        self.assertIn("db2", self.r.info("keyspace"))
        second.flushdb()
        self.assertEqual(second.dbsize(), 0)

    def test_info_and_configuration(self):
        info = self.r.info()
        self.assertTrue(info["redis_version"].startswith("7.2"))
        self.assertEqual(info["tcp_port"], self.server.port)
        self.assertGreaterEqual(info["connected_clients"], 1)
        before = self.r.config_get("maxmemory-policy")
        self.assertEqual(before, {"maxmemory-policy": "noeviction"})
        self.assertIs(self.r.config_set("maxmemory-policy", "allkeys-lru"), True)
        self.assertEqual(self.r.config_get("maxmemory-*")["maxmemory-policy"], "allkeys-lru")
        self.assertIs(self.r.config_set("maxmemory-policy", "noeviction"), True)
        self.assertGreater(self.r.command_count(), 50)
        self.assertEqual(self.r.command_getkeys("MSET", "a", "1", "b", "2"), ["a", "b"])
        self.assertIn("get", {name.lower() for name in self.r.command()})
        seconds, _ = self.r.time()
        self.assertAlmostEqual(seconds, time.time(), delta=5)

    def test_a_password(self):
        # Newer versions take a refused password for a fault of the network, and try again for seconds.
        once = {"retry": Retry(NoBackoff(), 0)}
        self.r.config_set("requirepass", "secret")
        try:
            with self.assertRaises(redis.AuthenticationError):
                self.client(**once).ping()
            with self.assertRaises(redis.AuthenticationError):
                self.client(password="wrong", **once).ping()
            self.assertIs(self.client(password="secret").ping(), True)
            self.assertIs(self.client(username="default", password="secret").ping(), True)
        finally:
            self.r.config_set("requirepass", "")
        self.assertIs(self.client().ping(), True)

    def test_a_large_value(self):
        value = os.urandom(8 << 20)
        plain = self.client()
        plain.set("large", value)
        self.assertEqual(plain.get("large"), value)
        with plain.pipeline(transaction=False) as pipe:
            for n in range(8):
                pipe.set(f"large:{n}", value[: 1 << 20])
            pipe.mget([f"large:{n}" for n in range(8)])
            self.assertEqual(pipe.execute()[-1], [value[: 1 << 20]] * 8)


class Resp2(Commands, unittest.TestCase):
    protocol = 2


class Resp3(Commands, unittest.TestCase):
    protocol = 3


class Resp2OneShard(Commands, unittest.TestCase):
    protocol = 2
    shards = 1


class Resp3ThreeShards(Commands, unittest.TestCase):
    protocol = 3
    shards = 3


class AskingForTheProtocolAtConnect(unittest.TestCase):
    def test_both_protocols_are_served_side_by_side(self):
        server = Server("--shards", "2")
        try:
            clients = {n: redis.Redis(port=server.port, protocol=n, decode_responses=True) for n in (2, 3)}
            clients[3].set("a", 1)
            for n, client in clients.items():
                self.assertEqual(client.get("a"), "1")
                self.assertEqual(client.execute_command("HELLO")["proto"] if n == 3 else 2, n)
                self.assertIsNone(client.get("none"))
                client.close()
        finally:
            self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main()
