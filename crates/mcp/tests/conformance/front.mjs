// A server of the harness for the suite, with a project and a token of its own. The suite sends no credential, so its requests go
// through a door that adds the token and changes nothing else. Prints the address on its first line; ends what it started when it
// is ended.
//
//   node front.mjs HARNESS proxy FIXTURE SPEAKS   the proxy in front of the fixture server, as somebody would who lets everything
//                                                 pass: mode observe. The fixture asks over a session or by an answer, not both:
//                                                 SPEAKS is the generation that is spoken with it
//   node front.mjs HARNESS serve                  what `harness new` makes, served to clients: its intents and agents as tools

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [harness, face, fixture, speaks] = process.argv.slice(2);
const faces = {
  proxy: { path: '/mcp/proxy', made: inFront },
  serve: { path: '/mcp', made: own },
};
const folder = mkdtempSync(join(tmpdir(), 'front-'));
const project = join(folder, 'project');
const config = join(project, 'harness.toml');
const children = [];

/** Starts a program; its lines on standard output or error, as they come. */
function started(program, args, stream) {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  children.push(child);
  child.stderr.resume();
  child.stdout.resume();
  return createInterface({ input: child[stream] });
}

function end() {
  children.forEach((child) => child.kill());
  rmSync(folder, { recursive: true, force: true });
  process.exit(0);
}
process.on('SIGTERM', end);
process.on('SIGINT', end);

function done(args, cwd) {
  const ended = spawnSync(harness, args, { input: '', encoding: 'utf8', cwd });
  if (ended.status !== 0) throw new Error(`harness ${args.join(' ')}: ${ended.stderr}`);
  return ended.stdout;
}

async function inFront() {
  const [behind] = await once(started(fixture, ['--http'], 'stdout'), 'line');
  done(['mcp', 'proxy', '--project', project, '--name', 'suite', '--mode', 'observe', '--url', behind]);
  const may = `kind = "mcp"\nspeaks = "${speaks}"\nmay_ask = ["elicitation", "sampling", "roots"]\n`;
  writeFileSync(config, readFileSync(config, 'utf8').replace('kind = "mcp"\n', may));
}

async function own() {
  done(['new', 'project'], folder);
}

await faces[face].made();
const { token } = JSON.parse(done(['--config', config, '-o', 'json', 'token', 'create', 'suite']));

let port;
for await (const line of started(harness, ['--config', config, 'serve', '--listen', '127.0.0.1:0'], 'stderr')) {
  port = /at http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
  if (port) break;
}
if (!port) throw new Error('the proxy did not say where it is');

const door = createServer((asked, told) => {
  // As the suite names the door, so does it name what is behind: the check of names has to see what came.
  const host = asked.headers.host?.replace(`:${door.address().port}`, `:${port}`);
  const origin = asked.headers.origin?.replace(`:${door.address().port}`, `:${port}`);
  const headers = { ...asked.headers, host, authorization: `Bearer ${token}`, ...(origin && { origin }) };
  const on = request({ host: '127.0.0.1', port, path: asked.url.replace('/mcp', faces[face].path), method: asked.method, headers }, (answer) => {
    told.writeHead(answer.statusCode, answer.headers);
    answer.pipe(told);
  });
  on.on('error', () => told.destroy());
  told.on('close', () => on.destroy());
  asked.pipe(on);
});
await once(door.listen(0, '127.0.0.1'), 'listening');
console.log(`http://127.0.0.1:${door.address().port}/mcp`);
