"""What the programs share: a connection with deadlines, a clean stop, and waits that differ from pod to pod."""

import argparse
import os
import random
import signal
import threading

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

# The server is out of reach, still loading its data, or not the master any more. All of that passes.
PASSING = (redis.ConnectionError, redis.TimeoutError, redis.ReadOnlyError)


def connect(**options):
    return redis.Redis.from_url(
        os.environ.get("REDIS_URL", "redis://127.0.0.1:6379"),
        # Maps come as dictionaries, and the server can tell what has changed.
        protocol=3,
        decode_responses=True,
        socket_connect_timeout=2,
        socket_timeout=2,
        # The loops try again themselves: only they know whether what they wanted still makes sense.
        retry=Retry(NoBackoff(), 0),
        **options,
    )


def arguments(description, **defaults):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--namespace", default="play")
    for name, default in defaults.items():
        if default is False:
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default)
    return parser.parse_args()


def stop_on_signals():
    """An event that SIGTERM and SIGINT set. Waiting for it is also how the loops sleep."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def say(*words):
    print(*words, flush=True)


class Backoff:
    """Waits that double up to a limit, each cut by chance so that pods do not come all at once."""

    def __init__(self, stop, first=0.05, longest=2.0):
        self.stop, self.first, self.longest = stop, first, longest
        self.reset()

    def reset(self):
        self.next = self.first

    def wait(self):
        self.stop.wait(random.uniform(self.next / 2, self.next))
        self.next = min(self.next * 2, self.longest)
