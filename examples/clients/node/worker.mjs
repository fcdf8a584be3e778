// Works off jobs: claims one, renews the claim at a third of its time, finishes it, or gives it back when it is to stop.
// Run one or more: node worker.mjs --name worker-1

import { setTimeout as sleep } from 'node:timers/promises';
import { Backoff, connect, options, passes, stopOnSignals } from './common.mjs';

// --step is how long a step of these jobs takes; --drain ends when there is no job left.
const { namespace, name, claim, step, drain } = options({ name: 'worker-1', claim: 30_000, step: 100, drain: false });
const stop = stopOnSignals();
const { call, close } = await connect();

const table = `${namespace}:jobs`;
const idle = new Backoff(stop);
let reclaimAt = 0;

// The job, step by step. A step has to be shorter than a third of the claim.
async function work(id, token, row, asked) {
  const { steps = 1 } = JSON.parse(row.params);
  // Where the worker before this one came to.
  let { done = 0 } = JSON.parse(row.progress);
  console.log(`${name} works on ${id} from step ${done}`);
  let ends = asked + claim;
  let renewAt = asked + claim / 3;
  while (done < steps) {
    if (stop.now) return finish(id, token, done, ends, 'queued');
    await sleep(step);
    done += 1;
    const now = performance.now();
    if (now >= renewAt) {
      try {
        if (!(await renew(id, token, done))) return;
        [ends, renewAt] = [now + claim, now + claim / 3];
      } catch (error) {
        if (!passes(error)) throw error;
        console.log(`${name} cannot renew, and tries again after the next step: ${error.message}`);
      }
    }
    if (now >= ends) {
      console.log(`${name} has lost ${id} to time`);
      return;
    }
  }
  await finish(id, token, done, ends, steps === 0 ? 'failed' : 'completed');
}

async function renew(id, token, done) {
  const renewed = await call('MIROIR.JOB.RENEW', `${table}:${id}`, name, token, claim, 'PROGRESS', JSON.stringify({ done }));
  if (renewed !== 1) console.log(`${name} has lost ${id}`);
  return renewed === 1;
}

async function finish(id, token, done, ends, state) {
  const words = [`${table}:${id}`, name, token, state, 'PROGRESS', JSON.stringify({ done })];
  if (state === 'failed') words.push('ERROR', 'nothing to do');
  for (const retry = new Backoff(stop); ; await retry.wait()) {
    try {
      // -1 says that it has ended already: an answer before this one was lost on the way.
      const ended = [1, -1].includes(await call('MIROIR.JOB.FINISH', ...words));
      console.log(`${name} ${ended ? state : 'has lost'} ${id}`);
      return;
    } catch (error) {
      if (!passes(error)) throw error;
      if (performance.now() >= ends || stop.now) {
        console.log(`${name} leaves ${id} to whom claims it next: ${error.message}`);
        return;
      }
    }
  }
}

// CLAIM finds jobs whose claim ran out by itself. RECLAIM also puts them back where the depth of the queue shows.
async function reclaim() {
  if (performance.now() < reclaimAt) return;
  await call('MIROIR.JOB.RECLAIM', table, 'MAXATTEMPTS', 5);
  reclaimAt = performance.now() + claim;
}

async function isEmpty() {
  return (await call('MIROIR.COUNT', table, 'WHERE', 'state', 'queued', 'WHERE', 'state', 'in_progress')) === 0;
}

while (!stop.now) {
  try {
    const asked = performance.now();
    const claimed = await call('MIROIR.JOB.CLAIM', table, name, claim, 'TYPE', 'dump', 'MAXATTEMPTS', 5);
    for (const [id, token, row] of claimed) {
      idle.reset();
      await work(id, token, row, asked);
    }
    if (claimed.length === 0) {
      if (drain && (await isEmpty())) break;
      await reclaim();
      await idle.wait();
    }
  } catch (error) {
    if (!passes(error)) throw error;
    console.log(`${name} has no server: ${error.message}`);
    await idle.wait();
  }
}
close();
