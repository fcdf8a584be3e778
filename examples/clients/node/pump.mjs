// Carries the events of a CDC buffer to a sink: looks at the oldest ones, delivers them, and only then removes them.
// An event may be delivered twice, when the pump dies or the sink fails in between, but none is lost, and they come in order.
// Run one for each sink: node pump.mjs --sink kafka --file events.log

import { appendFileSync } from 'node:fs';
import { Backoff, connect, options, passes, stopOnSignals } from './common.mjs';

// --fail is the share of batches that fail; --drain ends when the buffer is empty.
const { namespace, sink, file, batch, fail, drain } = options({
  sink: 'kafka', file: 'events.log', batch: 100, fail: 0.1, drain: false,
});
const stop = stopOnSignals();
const { call, close } = await connect();

const buffer = `${namespace}:cdc:overflow:${sink}`;
const cursor = `${namespace}:cdc_cursor:${sink}:products`;
const idle = new Backoff(stop);
const retry = new Backoff(stop);
let seen = 0;

class SinkDown extends Error {}

// Stands for Kafka or a webhook: writes a line for each event, and fails now and then in the middle of a batch.
async function send(events) {
  const fails = Math.random() < fail;
  const sent = fails ? events.slice(0, events.length / 2) : events;
  for (const [seq, event] of sent) appendFileSync(file, `${seq} ${event}\n`);
  if (fails) throw new SinkDown('the sink does not answer');
}

async function look() {
  const events = await call('MIROIR.CDC.PEEK', buffer, 'COUNT', batch, 'MAXBYTES', 2 ** 20);
  if (seen > 0 && events.length > 0 && events[0][0] > seen + 1) {
    console.log(`the buffer has dropped ${events[0][0] - seen - 1} events`);
  }
  return events;
}

async function deliver(events) {
  await send(events);
  seen = events.at(-1)[0];
  // For whom it may concern: up to here the sink has everything.
  await call('MIROIR.CURSOR.ADVANCE', cursor, seen);
  await call('MIROIR.CDC.ACK', buffer, seen);
}

while (!stop.now) {
  try {
    const events = await look();
    if (events.length > 0) {
      await deliver(events);
      idle.reset();
    } else if (drain) {
      break;
    } else {
      await idle.wait();
    }
    retry.reset();
  } catch (error) {
    if (!(error instanceof SinkDown) && !passes(error)) throw error;
    // After this it looks again: meanwhile the oldest events may have been dropped, or numbered anew.
    console.log(`tries again: ${error.message}`);
    await retry.wait();
  }
}
close();
