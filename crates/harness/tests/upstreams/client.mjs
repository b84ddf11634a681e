// Calls tools through a server over standard input and output with the official TypeScript SDK, one after the other, and prints
// what it was told as JSON: client.mjs NODE_MODULES CALLS COMMAND ARGUMENT…
import { pathToFileURL } from "node:url";

const [modules, calls, command, ...args] = process.argv.slice(2);
const sdk = (path) => import(pathToFileURL(`${modules}/@modelcontextprotocol/sdk/dist/esm/client/${path}.js`));
const [{ Client }, { StdioClientTransport }] = [await sdk("index"), await sdk("stdio")];

const client = new Client({ name: "upstreams", version: "1.0.0" });
await client.connect(new StdioClientTransport({ command, args, env: process.env }));
const { tools } = await client.listTools();
const results = [];
for (const [name, args] of JSON.parse(calls)) {
  results.push(await client.callTool({ name, arguments: args }));
}
await client.close();
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), results }));
