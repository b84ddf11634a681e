// Runs the suite leg by leg and counts checks, not scenarios: a scenario may say yes without having checked anything.
// A leg fails when a scored check is lost, or when fewer pass than counts.json records. COUNTS_WRITE=1 records them.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { compare } from './compare.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const kept = process.env.CONFORMANCE_KEPT;
const programs = process.env.CONFORMANCE_PROGRAMS;
const suite = join(kept, 'node_modules/@modelcontextprotocol/conformance');
const fixture = join(programs, 'mcp-conformance-server');
const harness = `node ${join(here, 'front.mjs')} ${process.env.CONFORMANCE_HARNESS}`;
const front = `${harness} proxy ${fixture} SPEAKS`;
const REVISIONS = ['2025-11-25', '2026-07-28'];

const speaks = (revision) => (revision === REVISIONS[0] ? 'sessions' : 'stateless');

// What `harness mcp serve` has nothing to do with: fixtures of the suite by name, and what a server of tools alone does not declare.
// Scenarios by the beginning of their names, checks by their ids.
const NOT_SERVED = {
  scenarios: ['tools-call-', 'resources-', 'prompts-', 'completion-', 'input-required-', 'elicitation-', 'logging-', 'sep-2164-',
    // Sessions are for those whose servers ask back.
    'server-sse-multiple-streams'],
  checks: ['sep-2575-server-rejects-undeclared-capability', 'sep-2575-missing-capability-http-400',
    'sep-2575-http-server-no-independent-requests-on-stream', 'sep-2575-server-no-log-without-loglevel',
    'sep-2575-server-sends-tools-list-changed-on-subscription', 'sep-2549-prompts-list-caching-hints',
    'sep-2549-resources-list-caching-hints', 'sep-2549-resources-templates-list-caching-hints'],
};

// Measures how long a client waits: it means something only while nothing else runs.
const ALONE = ['sse-retry'];

/** The scenarios of one side that count for a revision. */
function scored(revision, side) {
  const lines = readFileSync(join(suite, 'requirements', `${revision}.yaml`), 'utf8').split('\n');
  const from = lines.indexOf(`${side}:`);
  const names = new Set();
  for (const line of lines.slice(from + 1)) {
    const name = /^ {2}- (\S+)$/.exec(line)?.[1];
    if (name) names.add(name);
    else if (/^\S/.test(line)) break;
  }
  if (!names.size) throw new Error(`no scenarios for ${side} in ${revision}`);
  return names;
}

/** Runs the suite's own program; what it prints is kept in the log. */
async function run(args) {
  const child = spawn(process.execPath, [join(suite, 'dist/index.js'), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  await once(child, 'exit');
}

/** Folders with results, each with the name of its scenario. */
function* results(folder, below = folder) {
  for (const entry of readdirSync(below, { withFileTypes: true })) {
    const path = join(below, entry.name);
    if (entry.isDirectory()) yield* results(folder, path);
    if (entry.name !== 'checks.json') continue;
    yield [relative(folder, below).replace(/-\d{4}-\d\d-\d\dT[\d-]+Z$/, ''), path];
  }
}

/** How many checks there were of each outcome, the scored ones apart. */
function counted(folder, names, { prefix = '', leftOut = [], without } = {}) {
  const told = { scored: 0, lost: [], others: 0, failing: 0 };
  const seen = new Set();
  const isOut = (scenario) => leftOut.includes(scenario) || without?.scenarios.some((begins) => scenario.startsWith(begins));
  for (const [named, path] of results(folder)) {
    const scenario = named.startsWith(prefix) ? named.slice(prefix.length) : named;
    if (isOut(scenario)) continue;
    const counts = names.has(scenario);
    seen.add(scenario);
    for (const check of JSON.parse(readFileSync(path, 'utf8'))) {
      if (without?.checks.includes(check.id)) continue;
      const failed = check.status === 'FAILURE' || check.status === 'WARNING';
      if (check.status === 'SUCCESS') told[counts ? 'scored' : 'others'] += 1;
      else if (failed && counts) told.lost.push(`${scenario}: ${check.id}: ${check.errorMessage ?? check.description}`);
      else if (failed) told.failing += 1;
    }
  }
  for (const name of names) {
    if (!seen.has(name) && !isOut(name)) told.lost.push(`${name}: it was not run`);
  }
  return told;
}

/** Starts a server that prints its address on its first line. */
async function started(command) {
  const child = spawn('sh', ['-c', `exec ${command}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(child, 'exit').then(() => { throw new Error(`it ended before it said where it is: ${command}`); });
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended]);
  ended.catch(() => {});
  return [line.trim(), child];
}

async function servers(leg, { url, command, without }) {
  const told = {};
  for (const revision of REVISIONS) {
    // A server of its own for each: what one revision changed is nothing to the other.
    const [address, child] = url ? [url] : await started(command.replaceAll('SPEAKS', speaks(revision)));
    const folder = join(kept, 'out', `${leg}-${revision}`);
    await run(['server', '--url', address, '--requirements', revision, '-o', folder]);
    child?.kill();
    told[`${leg} ${revision}`] = counted(folder, scored(revision, 'server'), { prefix: 'server-', without });
  }
  return told;
}

async function clients() {
  const told = {};
  const command = join(programs, 'mcp-conformance-client');
  for (const revision of REVISIONS) {
    const folder = join(kept, 'out', `client-${revision}`);
    await run(['client', '--command', command, '--requirements', revision, '-o', folder]);
    const all = scored(revision, 'client');
    const leg = counted(folder, all, { leftOut: ALONE });
    for (const scenario of ALONE.filter((name) => all.has(name))) {
      const apart = join(kept, 'out', `client-${revision}-alone`);
      await run(['client', '--command', command, '--scenario', scenario, '--spec-version', revision, '-o', apart]);
      const one = counted(apart, new Set([scenario]));
      leg.scored += one.scored;
      leg.lost.push(...one.lost);
    }
    told[`client ${revision}`] = leg;
  }
  return told;
}

/** Says what came of it; how many checks passed and failed. */
function judged(told) {
  const path = join(here, 'counts.json');
  const recorded = JSON.parse(readFileSync(path, 'utf8'));
  let [passed, failed] = [0, 0];
  for (const [leg, { scored: now, lost, others, failing }] of Object.entries(told)) {
    console.log(`\n${leg}: ${now} scored checks passed, ${lost.length} lost; of what is not scored, ${others} passed and ${failing} did not`);
    lost.forEach((one) => console.log(`  lost: ${one}`));
    const before = recorded[leg];
    const fewer = before && (now < before.scored || others < before.others);
    if (fewer) console.log(`  fewer than recorded: ${before.scored} scored, ${before.others} others`);
    if (!before && !process.env.COUNTS_WRITE) console.log('  nothing is recorded for it: COUNTS_WRITE=1 records it');
    passed += now + others;
    failed += lost.length + (fewer ? 1 : 0);
    recorded[leg] = { scored: now, others };
  }
  if (process.env.COUNTS_WRITE) writeFileSync(path, `${JSON.stringify(recorded, null, 2)}\n`);
  return [passed, failed];
}

const option = (name) => {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
};

async function main() {
  if (process.argv.includes('--compare')) {
    const at = process.argv.indexOf('--compare');
    return compare(process.argv[at + 1], process.argv[at + 2]);
  }
  rmSync(join(kept, 'out'), { recursive: true, force: true });
  const leg = option('--leg');
  if (leg) {
    const command = option('--server-command')?.replaceAll('FIXTURE', fixture);
    const without = leg === 'serve' ? NOT_SERVED : undefined;
    return judged(await servers(leg, { url: option('--server'), command, without }));
  }
  const told = await servers('server', { command: `${fixture} --http` });
  Object.assign(told, await clients());
  Object.assign(told, await servers('proxy', { command: front }));
  Object.assign(told, await servers('serve', { command: `${harness} serve`, without: NOT_SERVED }));
  const [passed, failed] = judged(told);
  // The same server twice is the same, and so is one behind the proxy.
  let sums = [passed, failed];
  const twice = async (command, how) => {
    const [[one, first], [other, second]] = [await started(`${fixture} --http`), await started(command)];
    const same = await compare(one, other, how);
    first.kill();
    second.kill();
    sums = [sums[0] + same[0], sums[1] + same[1]];
  };
  await twice(`${fixture} --http`, {});
  for (const revision of REVISIONS) {
    await twice(front.replace('SPEAKS', speaks(revision)), { revisions: [revision], proxied: true });
  }
  return sums;
}

const [passed, failed] = await main();
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
