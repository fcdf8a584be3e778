"""Answers searches over HTTP, so many for each address in a window; more get 429 and are told when to come again.

The search page's configuration comes from redis-py's client-side cache, which the server keeps true.
Run: python handler.py --port 8080
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import redis
from redis.cache import CacheConfig

from common import PASSING, arguments, connect, say, stop_on_signals


class Cached(CacheConfig):
    """Which commands may be answered from the cache: reads of a row by its key."""

    def is_allowed_to_cache(self, command):
        return command == "MIROIR.GET"


class Rows:
    """Reads rows. What was read once comes from the cache until the server says that it has changed."""

    def __init__(self):
        self.server = connect(cache_config=Cached())

    def get(self, key):
        try:
            return self.server.execute_command("MIROIR.GET", key, keys=[key])
        except (redis.ConnectionError, redis.NoPermissionError) as error:
            if not any(words in str(error) for words in ("client-side caching", "client|tracking")):
                raise
            # redis-py caches on Redis 7.4 and later, and refuses to connect to any other server; and a user needs the right
            # to CLIENT TRACKING: then without.
            say("no cache:", error)
            self.server = connect()
            return self.get(key)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, options):
        super().__init__(("127.0.0.1", options.port), Handler)
        self.options = options
        # The limit is asked for at every request, on connections that track nothing.
        self.limits = connect()
        self.rows = Rows()

    def hit(self, address):
        key = f"{self.options.namespace}:ratelimit:searchui:{address}"
        return self.limits.execute_command("MIROIR.RATELIMIT.HIT", key, self.options.limit, self.options.window)

    def config(self):
        row = self.rows.get(f"{self.options.namespace}:search_ui_config:products")
        return json.loads(row["config_json"]) if row else {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # An idle or slow client must not hold a thread for ever.
    timeout = 10

    def do_GET(self):
        try:
            allowed, remaining, retry_ms, _ = self.server.hit(self.client_address[0])
            if not allowed:
                # In whole seconds, rounded up: who comes at that time is let in.
                return self.answer(429, {"error": "too many requests"}, {"Retry-After": -(-retry_ms // 1000)})
            self.answer(200, {"hits": [], "config": self.server.config()}, {"X-RateLimit-Remaining": remaining})
        except PASSING as error:
            # Without the store nobody is counted: better a search without a limit than none.
            say("has no server:", error)
            self.answer(200, {"hits": [], "config": {}}, {})

    def answer(self, status, body, headers):
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": len(text)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    stop = stop_on_signals()
    server = Server(arguments("Answers searches.", port=8080, limit=60, window=60_000))
    Thread(target=server.serve_forever, daemon=True).start()
    say("listens on port", server.server_port)
    stop.wait()
    server.shutdown()
    server.server_close()
