// Independent parsers as oracles. Reads JSON lines {mode, url, text, base, ref, now, variables} on stdin, writes one JSON line for each.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
const require = createRequire(new URL('../npm/package.json', import.meta.url));
const { Parser } = require('m3u8-parser');
const mpd = require('mpd-parser');
// The URL Standard's own implementation: Node.js 20 leaves the last "/." of `https://h//.a//b/.` standing.
const { URL: StandardUrl } = require('whatwg-url');

const range = (r) => (r ? [Number(r.offset), Number(r.offset) + Number(r.length) - 1] : null);
const absolute = (ref, base) => new URL(ref, base).href;

function hls({ url, text, variables }) {
  const parser = new Parser({ uri: url, mainDefinitions: variables });
  parser.push(text);
  parser.end();
  const m = parser.manifest;
  const groups = Object.values(m.mediaGroups ?? {}).flatMap((g) => Object.values(g)).flatMap((g) => Object.values(g));
  return {
    children: [...(m.playlists ?? []).map((p) => absolute(p.uri, url)), ...groups.filter((g) => g.uri).map((g) => absolute(g.uri, url))],
    first: m.mediaSequence ?? 0,
    ended: Boolean(m.endList),
    segments: (m.segments ?? []).filter((s) => s.uri).map((s) => ({
      url: absolute(s.uri, url), range: range(s.byterange), duration: s.duration ?? 0, key: s.key ? s.key.uri : null,
      init: s.map ? [absolute(s.map.uri, url), range(s.map.byterange)] : null })),
  };
}

function dash({ url, text, now }) {
  const out = mpd.parse(text, { manifestUri: url, NOW: now * 1000, eventHandler: () => {} });
  const groups = Object.values(out.mediaGroups ?? {}).flatMap((g) => Object.values(g)).flatMap((g) => Object.values(g));
  const all = [...(out.playlists ?? []), ...groups.flatMap((g) => g.playlists ?? [])];
  return { playlists: all.map((p) => ({
    id: p.attributes.NAME,
    bandwidth: p.attributes.BANDWIDTH,
    index: p.sidx ? [absolute(p.sidx.resolvedUri ?? p.sidx.uri, url), range(p.sidx.byterange)] : null,
    segments: (p.segments ?? []).map((s) => ({
      url: s.resolvedUri, range: range(s.byterange), duration: s.duration,
      init: s.map ? [s.map.resolvedUri, range(s.map.byterange)] : null })) })) };
}

for await (const line of createInterface({ input: process.stdin })) {
  if (!line) continue;
  const job = JSON.parse(line);
  let answer;
  try {
    answer = job.mode === 'url' ? new StandardUrl(job.ref, job.base).href : job.mode === 'hls' ? hls(job) : dash(job);
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
