// Answers searches over HTTP, so many for each address in a window; more get 429 and are told when to come again.
// Run: node handler.mjs --port 8080

import { createServer } from 'node:http';
import { connect, options, passes, stopOnSignals } from './common.mjs';

const { namespace, port, limit, window } = options({ port: 8080, limit: 60, window: 60_000 });
const stop = stopOnSignals();
const { call, close } = await connect();

async function config() {
  const row = await call('MIROIR.GET', `${namespace}:search_ui_config:products`);
  return row ? JSON.parse(row.config_json) : {};
}

async function search(address) {
  const key = `${namespace}:ratelimit:searchui:${address}`;
  const [allowed, remaining, retryMs] = await call('MIROIR.RATELIMIT.HIT', key, limit, window);
  if (allowed !== 1) {
    // In whole seconds, rounded up: who comes at that time is let in.
    return { status: 429, headers: { 'Retry-After': Math.ceil(retryMs / 1000) }, body: { error: 'too many requests' } };
  }
  return { status: 200, headers: { 'X-RateLimit-Remaining': remaining }, body: { hits: [], config: await config() } };
}

const http = createServer(async (request, response) => {
  const answer = await search(request.socket.remoteAddress).catch((error) => {
    console.log(`${passes(error) ? 'has no server' : 'is refused'}: ${error.message}`);
    // Without the store nobody is counted: better a search without a limit than none.
    return { status: 200, headers: {}, body: { hits: [], config: {} } };
  });
  response.writeHead(answer.status, { ...answer.headers, 'Content-Type': 'application/json' });
  response.end(JSON.stringify(answer.body));
});
http.requestTimeout = 10_000;
http.listen(port, '127.0.0.1', () => console.log(`listens on port ${http.address().port}`));

while (!stop.now) await stop.wait(60_000);
http.close();
http.closeAllConnections();
close();
