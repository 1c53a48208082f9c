// The suite of http-cache-tests (cache-tests.fyi) with every test's URL listed as a segment, through proxies or none:
//
//   node cache-tests.mjs HOST [PROXY ...]
//
// Its origin is here too and answers for HOST on a port of its own. Request n of a test goes to proxy n modulo their number,
// as if colleagues took turns. All tests' URLs stand in one playlist, which every proxy sees before a test begins, and which
// grows. Prints, as JSON, per test: suite, kind, its result (true, or [kind of failure, words]), and what the package says of
// other caches' results.
//
// The suite knows an answer by the field Server-Request-Count. A copy of a segment keeps few fields, so the number stands at
// the end of the body as well, and the client puts it back. Bodies of tests about ranges stay as they are.
import { readFileSync } from 'node:fs';
import { createServer, request as httpRequest, Agent } from 'node:http';

import handleConfig from 'http-cache-tests/server/handle-config.mjs';
import handleState from 'http-cache-tests/server/handle-state.mjs';
import handleTest from 'http-cache-tests/server/handle-test.mjs';
import { configs } from 'http-cache-tests/server/utils.mjs';
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs';
import suites from 'http-cache-tests/tests/index.mjs';

const [host, ...proxies] = process.argv.slice(2).map((it, place) => (place ? new URL(it) : it));
const sockets = new Agent({ keepAlive: true, maxSockets: 200 });
console.log = () => {}; // the suite's own words

// The origin

function playlist() {
  const urls = new Set();
  for (const [id, requests] of configs) {
    for (const { filename, query_arg: query } of requests) {
      urls.add(`/test/${id}${filename ? `/${filename}` : ''}${query ? `?${query}` : ''}`);
    }
  }
  const rows = [...urls].map((url) => `#EXTINF:2.0,\n${url}\n`).join('');
  return `#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n${rows}`;
}

const MARK = '\n#';

function numbered(response) {
  const end = response.end.bind(response);
  response.end = (content) => end(content === undefined ? content : `${content}${MARK}${response.getHeader('Server-Request-Count')}`);
  return response;
}

function isAboutRanges(requests) {
  return requests.some(({ request_headers: fields = [], response_status: [status] = [200] }) =>
    status === 206 || fields.some(([name]) => name.toLowerCase() === 'range'));
}

const origin = createServer((request, response) => {
  const [, place, ...rest] = new URL(request.url, 'http://origin/').pathname.split('/');
  if (place === 'config') handleConfig(rest, request, response);
  else if (place === 'test') handleTest(rest, request, isAboutRanges(configs.get(rest[0]) ?? []) ? response : numbered(response));
  else if (place === 'state') handleState(rest, request, response);
  else {
    response.setHeader('Content-Type', 'application/vnd.apple.mpegurl');
    response.setHeader('Cache-Control', 'no-cache');
    response.end(playlist());
  }
});
origin.keepAliveTimeout = 60_000; // none of our connections is closed in the middle of a test
await new Promise((ready) => origin.listen(0, '127.0.0.1', ready));
const base = `http://${host}:${origin.address().port}`;

// The client: as much of fetch as the suite asks for, without a cache and without following redirects

class Answer {
  constructor(message, body) {
    this.status = message.statusCode;
    this.statusText = message.statusMessage;
    this.headers = new Headers();
    for (let at = 0; at < message.rawHeaders.length; at += 2) {
      this.headers.append(message.rawHeaders[at], message.rawHeaders[at + 1]);
    }
    const [content, number] = body.split(MARK);
    this.body = content;
    if (number !== undefined && !this.headers.has('Server-Request-Count')) this.headers.set('Server-Request-Count', number);
  }

  async text() {
    return this.body;
  }
}

function send(proxy, url, { method = 'GET', headers = [], body } = {}) {
  const { pathname, search, host: authority } = new URL(url);
  const fields = { Host: authority };
  for (const [name, value] of headers) fields[name] = name in fields ? [fields[name], value].flat() : value;
  if (body !== undefined) fields['Content-Length'] = Buffer.byteLength(body);
  const there = proxy ? { host: proxy.hostname, port: proxy.port, path: url } : { host: '127.0.0.1', port: origin.address().port, path: pathname + search };
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ ...there, method, headers: fields, agent: sockets }, (message) => {
      const parts = [];
      message.on('data', (part) => parts.push(part));
      message.on('end', () => resolve(new Answer(message, Buffer.concat(parts).toString())));
      message.on('error', reject);
    });
    sent.on('error', reject);
    sent.setTimeout(30_000, () => sent.destroy(new Error('no answer within 30 s')));
    sent.end(body);
  });
}

async function fetchAsColleagues(url, init = {}) {
  const place = new URL(url).pathname.split('/')[1];
  if (place !== 'test' || !proxies.length) {
    const answer = await send(null, url, init);
    if (place === 'config') await Promise.all(proxies.map((proxy) => send(proxy, `${base}/all.m3u8`)));
    return answer;
  }
  const number = Number(init.headers.find(([name]) => name === 'Req-Num')[1]);
  return send(proxies[(number - 1) % proxies.length], url, init);
}

await runTests(suites, fetchAsColleagues, false, base, 60);
const results = getResults();
const others = Object.fromEntries(['chrome', 'squid', 'varnish'].map((name) => {
  const file = new URL(`../results/${name}.json`, import.meta.resolve('http-cache-tests/tests/index.mjs'));
  return [name, JSON.parse(readFileSync(file))];
}));
const told = {};
for (const suite of suites) {
  for (const test of suite.tests) {
    if (test.id in results) {
      const elsewhere = Object.fromEntries(Object.entries(others).map(([name, said]) => [name, said[test.id] ?? null]));
      told[test.id] = { suite: suite.id, kind: test.kind ?? 'required', result: results[test.id], elsewhere };
    }
  }
}
process.stdout.write(JSON.stringify(told), () => process.exit(0));
