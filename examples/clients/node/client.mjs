// Three operations of the task store, from Node.js. Run: npm install redis; node client.mjs [redis://127.0.0.1:6379]

import { createClient } from 'redis';

// With RESP 3, maps come as objects; with 2 they are flat arrays.
const server = createClient({ url: process.argv[2] ?? 'redis://127.0.0.1:6379', RESP: 3 });
await server.connect();

// Arguments of sendCommand are strings.
const call = (...words) => server.sendCommand(words.map(String));

// Put a task and read it back.
const task = 'play:tasks:mtask-6c5e4d3f-1a2b-4c7d-a8e9-f0b1c2d3e4f5';
const put = await call('MIROIR.PUT', task, 'index_uid', 'products', 'task_type', 'documentAdditionOrUpdate');
await call('MIROIR.TASK.NODE', task, 'node-0', 'UID', 4711);
const row = await call('MIROIR.GET', task);
console.log(`put ${put}, status ${row.status}, node_tasks ${row.node_tasks}`);

// Acquire a lease and renew it. The token goes with whatever the leader does.
const lease = 'play:lease:reshard:articles';
const [held, holder, , token] = await call('MIROIR.LEASE.ACQUIRE', lease, 'pod-c', 10_000);
console.log(`lease held ${held === 1} by ${holder}`);
if (held === 1) {
  const [renewed, , left] = await call('MIROIR.LEASE.RENEW', lease, 'pod-c', 10_000, 'TOKEN', token);
  console.log(`renewed ${renewed === 1} for ${left} ms`);
}

// Push CDC events, look at the oldest ones, and remove them once they are delivered.
const buffer = 'play:cdc:overflow:webhook-crm';
const events = ['{"op":"add","id":1}', '{"op":"delete","id":2}'];
await call('MIROIR.CDC.PUSH', buffer, 'BUDGET', 2 ** 30, ...events);
const oldest = await call('MIROIR.CDC.PEEK', buffer, 'COUNT', 100);
if (oldest.length > 0) {
  const [seq, newestSeen] = oldest.at(-1);
  const removed = await call('MIROIR.CDC.ACK', buffer, seq);
  console.log(`acknowledged ${removed}, the last was ${newestSeen}`);
}

await server.close();
