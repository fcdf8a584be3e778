// One of several pods leads: it holds a lease, renews it at a third of its time, and fences what it writes.
// Run one or more: node leader.mjs --pod pod-a

import { connect, options, passes, stopOnSignals } from './common.mjs';

const { namespace, pod, ttl } = options({ pod: 'pod-a', ttl: 30_000 });
const stop = stopOnSignals();
const { call, close } = await connect();

const lease = `${namespace}:lease:settings`;
const row = `${namespace}:node_settings_version:products:node-0`;
// 0 while another pod leads.
let token = 0;
// By this pod's own clock, and counted from before the question was sent: never later than the server's end.
let sureUntil = 0;

async function ask(command, ...words) {
  const asked = performance.now();
  const [granted, , left, current] = await call(command, lease, pod, ttl, ...words);
  if (granted === 1) sureUntil = asked + ttl;
  return { granted: granted === 1, left, current };
}

async function apply() {
  const { granted, left, current } = await ask('MIROIR.LEASE.ACQUIRE');
  if (!granted) return left > 0 ? Math.min(left, ttl / 3) : ttl / 3;
  token = current;
  console.log(`${pod} leads with token ${token}`);
  return 0;
}

async function lead() {
  const { granted } = await ask('MIROIR.LEASE.RENEW', 'TOKEN', token);
  if (!granted) {
    stepDown('the lease is lost');
    return 0;
  }
  await work();
  return ttl / 3;
}

// A leader's work. Whatever it writes has the token: a pod that was deposed meanwhile changes nothing.
async function work() {
  const [known] = (await call('MIROIR.GET', row, 'version')) ?? [0];
  const version = Number(known) + 1;
  try {
    await call('MIROIR.PUT', row, 'FENCE', lease, token, 'version', version);
    console.log(`${pod} wrote version ${version}`);
  } catch (error) {
    if (!error.message.startsWith('STALE')) throw error;
    stepDown('another pod leads');
  }
}

function stepDown(why) {
  console.log(`${pod} steps down: ${why}`);
  token = 0;
}

while (!stop.now) {
  let pause;
  try {
    pause = await (token ? lead() : apply());
  } catch (error) {
    if (!passes(error)) throw error;
    console.log(`${pod} has no server: ${error.message}`);
    pause = ttl / 6;
  }
  if (token && performance.now() >= sureUntil) stepDown('the lease may have run out');
  await stop.wait(pause * (0.8 + Math.random() / 5));
}
if (token) {
  // Lets the next pod lead at once, instead of when the lease runs out.
  await call('MIROIR.LEASE.RELEASE', lease, pod, 'TOKEN', token)
    .then(() => console.log(`${pod} released the lease`))
    .catch((error) => console.log(`${pod} could not release the lease, which runs out by itself: ${error.message}`));
}
close();
