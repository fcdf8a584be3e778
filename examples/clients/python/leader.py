"""One of several pods leads: it holds a lease, renews it at a third of its time, and fences what it writes.

Run one or more: python leader.py --pod pod-a
"""

import random
import time

import redis

from common import PASSING, arguments, connect, say, stop_on_signals


class Leader:
    def __init__(self, options, stop):
        self.server = connect()
        self.stop = stop
        self.pod, self.ttl = options.pod, options.ttl
        self.lease = f"{options.namespace}:lease:settings"
        self.row = f"{options.namespace}:node_settings_version:products:node-0"
        # None while another pod leads.
        self.token = None
        # By this pod's own clock, and counted from before the question was sent: never later than the server's end.
        self.sure_until = 0.0

    def run(self):
        while not self.stop.is_set():
            try:
                pause = self.lead() if self.token else self.apply()
            except PASSING as error:
                say(self.pod, "has no server:", error)
                pause = self.ttl / 6
            if self.token and time.monotonic() >= self.sure_until:
                self.step_down("the lease may have run out")
            self.stop.wait(pause / 1000 * random.uniform(0.8, 1.0))
        self.release()

    def ask(self, command, *words):
        asked = time.monotonic()
        granted, _, left, token = self.server.execute_command(command, self.lease, self.pod, self.ttl, *words)
        if granted:
            self.sure_until = asked + self.ttl / 1000
        return granted, left, token

    def apply(self):
        granted, left, token = self.ask("MIROIR.LEASE.ACQUIRE")
        if not granted:
            return min(left, self.ttl / 3) if left > 0 else self.ttl / 3
        self.token = token
        say(self.pod, "leads with token", token)
        return 0

    def lead(self):
        renewed, *_ = self.ask("MIROIR.LEASE.RENEW", "TOKEN", self.token)
        if not renewed:
            self.step_down("the lease is lost")
            return 0
        self.work()
        return self.ttl / 3

    def work(self):
        """A leader's work. Whatever it writes has the token: a pod that was deposed meanwhile changes nothing."""
        version = int((self.server.execute_command("MIROIR.GET", self.row, "version") or [0])[0]) + 1
        try:
            self.server.execute_command(
                "MIROIR.PUT", self.row, "FENCE", self.lease, self.token, "version", version
            )
            say(self.pod, "wrote version", version)
        except redis.ResponseError as error:
            if not str(error).startswith("STALE"):
                raise
            self.step_down("another pod leads")

    def step_down(self, why):
        say(self.pod, "steps down:", why)
        self.token = None

    def release(self):
        """Lets the next pod lead at once, instead of when the lease runs out."""
        if self.token:
            try:
                self.server.execute_command("MIROIR.LEASE.RELEASE", self.lease, self.pod, "TOKEN", self.token)
                say(self.pod, "released the lease")
            except PASSING as error:
                say(self.pod, "could not release the lease, which runs out by itself:", error)


if __name__ == "__main__":
    Leader(arguments("Leads, or waits to lead.", pod="pod-a", ttl=30_000), stop_on_signals()).run()
