"""Works off jobs: claims one, renews the claim at a third of its time, finishes it, or gives it back when it is to stop.

Run one or more: python worker.py --name worker-1
"""

import json
import time

from common import PASSING, Backoff, arguments, connect, say, stop_on_signals


class Worker:
    def __init__(self, options, stop):
        self.server = connect()
        self.stop = stop
        self.name, self.claim, self.step, self.drain = options.name, options.claim, options.step, options.drain
        self.table = f"{options.namespace}:jobs"
        self.idle = Backoff(stop)
        self.reclaim_at = 0.0

    def run(self):
        while not self.stop.is_set():
            try:
                asked = time.monotonic()
                claimed = self.server.execute_command(
                    "MIROIR.JOB.CLAIM", self.table, self.name, self.claim, "TYPE", "dump", "MAXATTEMPTS", 5
                )
                for id, token, row in claimed:
                    self.idle.reset()
                    self.work(id, token, row, asked)
                if not claimed:
                    if self.drain and self.is_empty():
                        return
                    self.reclaim()
                    self.idle.wait()
            except PASSING as error:
                say(self.name, "has no server:", error)
                self.idle.wait()

    def work(self, id, token, row, asked):
        """The job, step by step. A step has to be shorter than a third of the claim."""
        steps = json.loads(row["params"]).get("steps", 1)
        # Where the worker before this one came to.
        done = json.loads(row["progress"]).get("done", 0)
        say(self.name, "works on", id, "from step", done)
        ends = asked + self.claim / 1000
        renew_at = asked + self.claim / 3000
        while done < steps:
            if self.stop.is_set():
                self.finish(id, token, done, ends, "queued")
                return
            time.sleep(self.step / 1000)
            done += 1
            now = time.monotonic()
            if now >= renew_at:
                try:
                    if not self.renew(id, token, done):
                        return
                    ends, renew_at = now + self.claim / 1000, now + self.claim / 3000
                except PASSING as error:
                    say(self.name, "cannot renew, and tries again after the next step:", error)
            if now >= ends:
                say(self.name, "has lost", id, "to time")
                return
        self.finish(id, token, done, ends, "failed" if steps == 0 else "completed")

    def renew(self, id, token, done):
        renewed = self.server.execute_command(
            "MIROIR.JOB.RENEW", f"{self.table}:{id}", self.name, token, self.claim, "PROGRESS", json.dumps({"done": done})
        )
        if renewed != 1:
            say(self.name, "has lost", id)
        return renewed == 1

    def finish(self, id, token, done, ends, state):
        words = ["MIROIR.JOB.FINISH", f"{self.table}:{id}", self.name, token, state, "PROGRESS", json.dumps({"done": done})]
        if state == "failed":
            words += ["ERROR", "nothing to do"]
        retry = Backoff(self.stop)
        while True:
            try:
                # -1 says that it has ended already: an answer before this one was lost on the way.
                ended = self.server.execute_command(*words) in (1, -1)
                say(self.name, state if ended else "has lost", id)
                return
            except PASSING as error:
                if time.monotonic() >= ends or self.stop.is_set():
                    say(self.name, "leaves", id, "to whom claims it next:", error)
                    return
                retry.wait()

    def reclaim(self):
        """CLAIM finds jobs whose claim ran out by itself. RECLAIM also puts them back where the depth of the queue shows."""
        if time.monotonic() >= self.reclaim_at:
            self.server.execute_command("MIROIR.JOB.RECLAIM", self.table, "MAXATTEMPTS", 5)
            self.reclaim_at = time.monotonic() + self.claim / 1000

    def is_empty(self):
        open = ["WHERE", "state", "queued", "WHERE", "state", "in_progress"]
        return self.server.execute_command("MIROIR.COUNT", self.table, *open) == 0


if __name__ == "__main__":
    # --step is how long a step of these jobs takes; --drain ends when there is no job left.
    options = arguments("Works off jobs.", name="worker-1", claim=30_000, step=100, drain=False)
    Worker(options, stop_on_signals()).run()
