// Every fixture of two servers, one beside the other, in both revisions: what they say has to be equal, but for `_meta`.

const META = 'io.modelcontextprotocol/';
const STATELESS = '2026-07-28';
const SESSIONS = '2025-11-25';

/** Rounds of one call, where a server without sessions asks before it answers. */
const ROUNDS = 4;

/** What it is answered. */
const RESULTS = {
  'elicitation/create': { action: 'accept', content: { username: 'ada', email: 'ada@example.org' } },
  'sampling/createMessage': { role: 'assistant', model: 'none', content: { type: 'text', text: 'Paris' } },
  'roots/list': { roots: [] },
};

/** One connection that speaks plain HTTP, without any library of the protocol between. */
class Line {
  constructor(url, revision) {
    Object.assign(this, { url, revision, next: 1, session: undefined });
  }

  async open() {
    if (this.revision === STATELESS) return;
    const capabilities = { elicitation: { form: {} }, sampling: {}, roots: {} };
    const clientInfo = { name: 'compare', version: '1.0.0' };
    await this.ask('initialize', { protocolVersion: SESSIONS, capabilities, clientInfo });
    await this.send({ jsonrpc: '2.0', method: 'notifications/initialized' });
  }

  async send(message) {
    const headers = {
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': this.revision,
    };
    if (this.session) headers['mcp-session-id'] = this.session;
    if (this.revision === STATELESS) {
      headers['mcp-method'] = message.method;
      const name = message.params?.name ?? message.params?.uri;
      if (name) headers['mcp-name'] = name;
      if (message.params?.arguments?.region) headers['mcp-param-region'] = message.params.arguments.region;
    }
    const answer = await fetch(this.url, { method: 'POST', headers, body: JSON.stringify(message) });
    this.session ??= answer.headers.get('mcp-session-id') ?? undefined;
    return answer;
  }

  /** Everything that is said until the answer is there; what the server asks meanwhile is answered. */
  async ask(method, params = {}) {
    const id = this.next++;
    const meta = {
      [`${META}protocolVersion`]: STATELESS,
      [`${META}clientInfo`]: { name: 'compare', version: '1.0.0' },
      [`${META}clientCapabilities`]: { elicitation: { form: {} }, sampling: {}, roots: {} },
    };
    const { round, ...asked } = params;
    const whole = this.revision === STATELESS ? { ...asked, _meta: { ...meta, ...params._meta } } : asked;
    const answer = await this.send({ jsonrpc: '2.0', id, method, params: whole });
    const said = [];
    for await (const message of messages(answer)) {
      said.push(message);
      if (message.id === id && !message.method) break;
      if (message.method && message.id !== undefined) await this.reply(message);
    }
    const wanted = said.at(-1)?.result;
    if (wanted?.resultType !== 'input_required' || params.round >= ROUNDS) return { status: answer.status, said };
    const answers = Object.entries(wanted.inputRequests ?? {}).map(([key, one]) => [key, RESULTS[one.method]]);
    const { requestState } = wanted;
    const again = { ...params, inputResponses: Object.fromEntries(answers), ...(requestState && { requestState }) };
    const rest = await this.ask(method, { ...again, round: (params.round ?? 0) + 1 });
    return { status: rest.status, said: [...said, ...rest.said] };
  }

  async reply({ id, method }) {
    const result = RESULTS[method];
    const answer = result ? { result } : { error: { code: -32601, message: 'not here' } };
    await this.send({ jsonrpc: '2.0', id, ...answer });
  }
}

async function* messages(answer) {
  if (!answer.body) return;
  if (!(answer.headers.get('content-type') ?? '').includes('text/event-stream')) {
    const text = await answer.text();
    if (text) yield JSON.parse(text);
    return;
  }
  let held = '';
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    held += chunk;
    const events = held.split(/\r?\n\r?\n/);
    held = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith('data:'));
      const text = data.map((line) => line.slice(5).trimStart()).join('\n');
      if (text) yield JSON.parse(text);
    }
  }
}

/** What a question through a proxy begins with. */
const ASKS = /`[a-z]+` asks: /g;

/** What a proxy says in its own words: its name and what it can, how long a list may be kept and in which order it comes, the tool that
 * waits, the words for there being no such thing, which server asks, and a state that it seals where there was none. */
function relayed({ status, said }, [method, params]) {
  const isNothing = /no_such|nowhere/.test(`${method} ${params.name} ${params.uri}`);
  if (method === 'server/discover') return { status };
  const plainly = said.map((message) => {
    const { result, error } = message;
    // That there is nothing of a name each says in its own words.
    if (error && isNothing) return { ...message, error: { code: error.code } };
    if (!result) return message;
    const { ttlMs, cacheScope, requestState, ...rest } = result;
    for (const name of ['tools', 'resources', 'resourceTemplates', 'prompts']) {
      const key = (one) => one.uri ?? one.uriTemplate ?? one.name;
      rest[name] = rest[name]?.filter((one) => one.name !== 'harness_wait').sort((a, b) => (key(a) < key(b) ? -1 : 1));
    }
    return { ...message, result: rest };
  });
  return { status, said: plainly };
}

/** What the proxy answers otherwise on purpose: it takes an error of a tool that may have written for no proof that it did not. */
function isOtherwise(method, params, revision) {
  if (method !== 'tools/call') return false;
  return revision === SESSIONS && /input_required|streaming_elicitation/.test(params.name);
}

/** Whether something below `_meta` is a server's word about itself, or the proxy's receipt. */
const isOwn = (name) => name.startsWith('harness/') || name === `${META}serverInfo`;

/** With fields in one order, without what servers say of themselves below `_meta`, ids of requests and sealed states only as being
 * there. */
function plain(value, name) {
  if (name === 'requestState') return typeof value;
  if (Array.isArray(value)) return value.map((one) => plain(one));
  if (value === null || typeof value !== 'object') return value;
  let names = Object.keys(value).sort();
  if (name === '_meta') names = names.filter((one) => !isOwn(one));
  // Nothing said beside is nothing.
  names = names.filter((one) => one !== '_meta' || Object.keys(value._meta ?? {}).some((own) => !isOwn(own)));
  const rpc = value.jsonrpc === '2.0';
  return Object.fromEntries(names.map((one) => [one, rpc && one === 'id' ? 'id' : plain(value[one], one)]));
}

/** What a tool is called with whose schema says more than types. */
const SAMPLES = { json_schema_2020_12_tool: { name: 'Ada', contactMethod: 'email', email: 'ada@example.org' } };

const GIVEN = { string: 'given', integer: 7, number: 7.5, boolean: true, array: [], object: {} };

const args = ({ name: tool, inputSchema: { required, properties } }) =>
  SAMPLES[tool] ?? Object.fromEntries((required ?? []).map((name) => [name, GIVEN[properties?.[name]?.type] ?? 'given']));

/** Everything that is asked: what is listed by the first server decides. */
async function questions(line) {
  const list = async (method, of) => (await line.ask(method)).said.at(-1)?.result?.[of] ?? [];
  const tools = await list('tools/list', 'tools');
  const resources = await list('resources/list', 'resources');
  const prompts = await list('prompts/list', 'prompts');
  const filled = (prompt) => Object.fromEntries((prompt.arguments ?? []).map(({ name }) => [name, 'test://given']));
  return [
    ...(line.revision === STATELESS ? [['server/discover', {}]] : [['ping', {}], ['logging/setLevel', { level: 'debug' }]]),
    ['tools/list', {}],
    ['resources/list', {}],
    ['resources/templates/list', {}],
    ['prompts/list', {}],
    ...tools.map((tool) => ['tools/call', { name: tool.name, arguments: args(tool), _meta: { progressToken: 'p' } }]),
    ['tools/call', { name: 'there_is_no_such_tool', arguments: {} }],
    ...resources.map(({ uri }) => ['resources/read', { uri }]),
    ['resources/read', { uri: 'test://template/7/data' }],
    ['resources/read', { uri: 'test://nowhere' }],
    ...prompts.map((prompt) => ['prompts/get', { name: prompt.name, arguments: filled(prompt) }]),
    ['completion/complete', { ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' }, argument: { name: 'arg1', value: 'par' } }],
    ['there/is_no_such_method', {}],
  ];
}

/** How many answers were equal and how many were not. */
export async function compare(direct, other, { revisions = [SESSIONS, STATELESS], proxied = false } = {}) {
  let [equal, different] = [0, 0];
  const shown = (answer, asked) =>
    proxied ? JSON.stringify(plain(relayed(answer, asked))).replaceAll(ASKS, '') : JSON.stringify(plain(answer));
  for (const revision of revisions) {
    const lines = [new Line(direct, revision), new Line(other, revision)];
    for (const line of lines) await line.open();
    for (const [method, params] of await questions(lines[0])) {
      if (proxied && isOtherwise(method, params, revision)) continue;
      const said = [];
      for (const line of lines) said.push(shown(await line.ask(method, structuredClone(params)), [method, params]));
      if (said[0] === said[1]) {
        equal += 1;
        continue;
      }
      different += 1;
      console.log(`  ${revision} ${method} ${params.name ?? params.uri ?? ''}\n    direct ${said[0]}\n    other  ${said[1]}`);
    }
  }
  console.log(`\ncompared in ${revisions.join(' and ')}: ${equal} answers are equal, ${different} are not`);
  return [equal, different];
}
