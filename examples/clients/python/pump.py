"""Carries the events of a CDC buffer to a sink: looks at the oldest ones, delivers them, and only then removes them.

An event may be delivered twice, when the pump dies or the sink fails in between, but none is lost, and they come in order.
Run one for each sink: python pump.py --sink kafka --file events.log
"""

import random

from common import PASSING, Backoff, arguments, connect, say, stop_on_signals


class SinkDown(Exception):
    pass


class Sink:
    """Stands for Kafka or a webhook: writes a line for each event, and fails now and then in the middle of a batch."""

    def __init__(self, path, fail):
        self.lines, self.fail = open(path, "a", buffering=1), fail

    def deliver(self, events):
        fails = random.random() < self.fail
        for seq, event in events[: len(events) // 2] if fails else events:
            self.lines.write(f"{seq} {event}\n")
        if fails:
            raise SinkDown("the sink does not answer")


class Pump:
    def __init__(self, options, stop):
        self.server = connect()
        self.stop = stop
        self.batch, self.drain = options.batch, options.drain
        self.buffer = f"{options.namespace}:cdc:overflow:{options.sink}"
        self.cursor = f"{options.namespace}:cdc_cursor:{options.sink}:products"
        self.sink = Sink(options.file, options.fail)
        self.idle, self.retry = Backoff(stop), Backoff(stop)
        self.seen = 0

    def run(self):
        while not self.stop.is_set():
            try:
                events = self.look()
                if events:
                    self.deliver(events)
                    self.idle.reset()
                elif self.drain:
                    return
                else:
                    self.idle.wait()
                self.retry.reset()
            except (SinkDown, *PASSING) as error:
                # After this it looks again: meanwhile the oldest events may have been dropped, or numbered anew.
                say("tries again:", error)
                self.retry.wait()

    def look(self):
        events = self.server.execute_command(
            "MIROIR.CDC.PEEK", self.buffer, "COUNT", self.batch, "MAXBYTES", 1 << 20
        )
        if events and self.seen and events[0][0] > self.seen + 1:
            say("the buffer has dropped", events[0][0] - self.seen - 1, "events")
        return events

    def deliver(self, events):
        self.sink.deliver(events)
        self.seen = events[-1][0]
        # For whom it may concern: up to here the sink has everything.
        self.server.execute_command("MIROIR.CURSOR.ADVANCE", self.cursor, self.seen)
        self.server.execute_command("MIROIR.CDC.ACK", self.buffer, self.seen)


if __name__ == "__main__":
    # --fail is the share of batches that fail; --drain ends when the buffer is empty.
    options = arguments(
        "Carries events to a sink.", sink="kafka", file="events.log", batch=100, fail=0.1, drain=False
    )
    Pump(options, stop_on_signals()).run()
