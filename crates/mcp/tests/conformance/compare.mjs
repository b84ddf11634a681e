// Every fixture of two servers, one beside the other, in both revisions: what they say has to be equal, but for `_meta`.

const META = 'io.modelcontextprotocol/';
const STATELESS = '2026-07-28';
const SESSIONS = '2025-11-25';

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
    const whole = this.revision === STATELESS ? { ...params, _meta: { ...meta, ...params._meta } } : params;
    const answer = await this.send({ jsonrpc: '2.0', id, method, params: whole });
    const said = [];
    for await (const message of messages(answer)) {
      said.push(message);
      if (message.id === id && !message.method) break;
      if (message.method && message.id !== undefined) await this.reply(message);
    }
    return { status: answer.status, said };
  }

  async reply({ id, method }) {
    const result = {
      'elicitation/create': { action: 'accept', content: { username: 'ada', email: 'ada@example.org' } },
      'sampling/createMessage': { role: 'assistant', model: 'none', content: { type: 'text', text: 'Paris' } },
      'roots/list': { roots: [] },
    }[method];
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

/** Without `_meta` anywhere, with fields in one order, ids of requests and sealed states only as being there. */
function plain(value, name) {
  if (name === 'requestState') return typeof value;
  if (Array.isArray(value)) return value.map((one) => plain(one));
  if (value === null || typeof value !== 'object') return value;
  const names = Object.keys(value).filter((one) => one !== '_meta').sort();
  const rpc = value.jsonrpc === '2.0';
  return Object.fromEntries(names.map((one) => [one, rpc && one === 'id' ? 'id' : plain(value[one], one)]));
}

const args = (tool) =>
  Object.fromEntries((tool.inputSchema.required ?? []).map((name) => [name, 'given']));

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
export async function compare(direct, other, revisions = [SESSIONS, STATELESS]) {
  let [equal, different] = [0, 0];
  for (const revision of revisions) {
    const lines = [new Line(direct, revision), new Line(other, revision)];
    for (const line of lines) await line.open();
    for (const [method, params] of await questions(lines[0])) {
      const said = [];
      for (const line of lines) said.push(JSON.stringify(plain(await line.ask(method, structuredClone(params)))));
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
