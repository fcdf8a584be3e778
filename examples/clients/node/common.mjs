// What the programs share: a connection with deadlines, a clean stop, and waits that differ from pod to pod.

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { createClient, ErrorReply } from 'redis';

const DEADLINE = 2_000;

// Answers `call`, which sends a command and gives up waiting for its answer after a while.
export async function connect() {
  const server = createClient({
    url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379',
    // Maps come as objects.
    RESP: 3,
    // While the server is out of reach commands fail at once. The loops try again themselves: only they know whether what they
    // wanted still makes sense.
    disableOfflineQueue: true,
    socket: {
      connectTimeout: DEADLINE,
      reconnectStrategy: (attempts) => Math.min(50 * 2 ** attempts, 2_000) * (0.5 + Math.random() / 2),
    },
  });
  // Without a listener an error would end the process. What it means shows in the commands that fail.
  server.on('error', () => {});
  // Goes on trying until the server is there: then the loops begin without it.
  await Promise.race([server.connect(), sleep(DEADLINE, undefined, { ref: false })]).catch(() => {});

  const call = async (...words) => {
    const late = new AbortController();
    const deadline = sleep(DEADLINE, undefined, { signal: late.signal }).then(() => {
      throw new Error('the server does not answer in time');
    });
    try {
      return await Promise.race([server.sendCommand(words.map(String)), deadline]);
    } finally {
      late.abort();
      deadline.catch(() => {});
    }
  };
  return { call, close: () => server.destroy() };
}

// What the server says to a command is final, but for a server that is loading its data or is not the master any more. All else
// passes.
export const passes = (error) => !(error instanceof ErrorReply) || /^(LOADING|READONLY|MASTERDOWN)/.test(error.message);

export function options(defaults) {
  const options = { namespace: 'play', ...defaults };
  const types = Object.entries(options).map(([name, value]) => [name, { type: value === false ? 'boolean' : 'string' }]);
  const { values } = parseArgs({ options: Object.fromEntries(types) });
  for (const [name, value] of Object.entries(values)) {
    options[name] = typeof options[name] === 'number' ? Number(value) : value;
  }
  return options;
}

// `stop.now` is true after SIGTERM or SIGINT; `stop.wait` sleeps until then at the longest.
export function stopOnSignals() {
  const signal = new AbortController();
  const stop = {
    now: false,
    wait: (ms) => sleep(ms, undefined, { signal: signal.signal }).catch(() => {}),
  };
  for (const name of ['SIGTERM', 'SIGINT']) {
    process.on(name, () => {
      stop.now = true;
      signal.abort();
    });
  }
  return stop;
}

// Waits that double up to a limit, each cut by chance so that pods do not come all at once.
export class Backoff {
  constructor(stop, first = 50, longest = 2_000) {
    Object.assign(this, { stop, first, longest, next: first });
  }

  reset() {
    this.next = this.first;
  }

  async wait() {
    await this.stop.wait(this.next * (0.5 + Math.random() / 2));
    this.next = Math.min(this.next * 2, this.longest);
  }
}
