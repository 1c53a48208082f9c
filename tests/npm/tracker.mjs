// A WebTorrent tracker over TLS, as pages of https need it: node tracker.mjs HOST PORT CERTIFICATE KEY
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import Server from 'bittorrent-tracker/server'; // not the whole package: its client wants a module that must be compiled

const [host, port, certificate, key] = process.argv.slice(2);
const tracker = new Server({ http: false, udp: false, stats: false, ws: { noServer: true } });
tracker.on('warning', (warning) => console.error(warning.message));
createServer({ cert: readFileSync(certificate), key: readFileSync(key) })
  .on('upgrade', (request, socket, head) => {
    tracker.ws.handleUpgrade(request, socket, head, (opened) => tracker.ws.emit('connection', opened, request));
  })
  .listen(Number(port), host, () => console.log('listening'));
