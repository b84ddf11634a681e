// A folder, a demo world, a server and browsers: what every test of the pages stands on.
import { spawn, execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const root = resolve(here, "../../../..");
// What is installed lies where builds lie: sources are scanned, and nobody else's belong among ours.
const need = createRequire(join(root, "target/browser/package.json"));
const { chromium } = need("playwright-core");
const axe = readFileSync(need.resolve("axe-core/axe.min.js"), "utf8");
const bin = process.env.HARNESS_BIN ?? join(root, "target/debug/harness");
const chrome = process.env.HARNESS_CHROMIUM ?? "/usr/bin/chromium";

export const first = (stream) => new Promise((done, fail) => {
  const lines = createInterface({ input: stream });
  lines.once("line", (line) => { done(line); lines.close(); stream.resume(); });
  lines.once("close", () => fail(new Error("it ended without a word")));
});

export class Office {
  static async open({ more = "", approvals = `terminal = "name"`, pack = () => {}, packs = `["packs/customer-ops"]`, before = async () => {} } = {}) {
    const office = new Office();
    office.dir = mkdtempSync(join(tmpdir(), "harness-pages-"));
    office.env = { PATH: process.env.PATH, HOME: join(office.dir, "user"), XDG_DATA_HOME: join(office.dir, "data") };
    mkdirSync(office.env.HOME);
    office.world = spawn(bin, ["demo-world", "--minutes", "20"], { env: office.env, stdio: ["ignore", "pipe", "ignore"] });
    office.place = JSON.parse(await first(office.world.stdout));
    await office.furnish(`[approvals]\n${approvals}\n${more}`, packs);
    cpSync(join(root, "packs/customer-ops"), join(office.dir, "packs/customer-ops"), { recursive: true });
    pack(join(office.dir, "packs/customer-ops"));
    try {
      await before(office);
      await office.serve();
    } catch (error) {
      await office.close();
      throw error;
    }
    return office;
  }

  async furnish(more, packs) {
    const { tokens } = await (await fetch(`${this.place.url}/_world`)).json();
    mkdirSync(join(this.dir, "secrets"));
    let systems = "", secrets = "[secrets]\n";
    for (const name of ["crm", "desk", "billing", "usage"]) {
      const file = join(this.dir, "secrets", name);
      writeFileSync(file, tokens[name].write, { mode: 0o600 });
      systems += `[systems.${name}]\nkind = "http"\nurl = "${this.place.url}/${name}"\n`;
      secrets += `${name}_token = "file:${file}"\n`;
    }
    writeFileSync(join(this.dir, "operator.cedar"),
      '@id("office.all")\n@reason("The office uses its pack.")\npermit (principal, action, resource);\n');
    writeFileSync(join(this.dir, "harness.toml"), `store = "store"\npacks = ${packs}\nme = "ulla"
[people.ulla]\nroles = ["requester", "operator"]
[people.mira]\nroles = ["approver", "finance"]
[people.nora]\nroles = ["approver", "finance"]
[people.lars]\nroles = ["viewer"]
[keys]\nreceipts = "file:keys/receipts.key"
[policy]\noperator = ["operator.cedar"]
[serve]\nstrangers_per_second = 1000\nrequests_per_second = 1000
${more}
${systems}[systems.smtp]\nkind = "smtp"\naddress = "${this.place.smtp}"\ntls = "none"
${secrets}`);
  }

  edit(file, from, to) {
    const path = join(this.dir, file), text = readFileSync(path, "utf8");
    if (!text.includes(from)) throw new Error(`${file} has no ${from}`);
    writeFileSync(path, text.replace(from, to));
  }

  async serve(at = "127.0.0.1:0") {
    const args = ["--config", join(this.dir, "harness.toml"), "serve", "--listen", at];
    this.server = spawn(bin, args, { env: this.env, stdio: ["ignore", "ignore", "pipe"] });
    const line = await first(this.server.stderr);
    this.url = /at (http:\/\/[^;]+);/.exec(line)?.[1];
    if (!this.url) throw new Error(line);
  }

  /** Ends the server, as a deploy would, and waits until it has. */
  async rest() {
    const ended = new Promise((done) => this.server.once("exit", done));
    this.server.kill("SIGTERM");
    await ended;
  }

  cli(args, person = "ulla") {
    const all = ["--config", join(this.dir, "harness.toml"), "--as", person, "-o", "json", ...args];
    try {
      return JSON.parse(execFileSync(bin, all, { env: this.env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }));
    } catch (error) {
      // A run that parks has an exit code of its own; its document is there all the same.
      if (error.stdout) return JSON.parse(error.stdout);
      throw error;
    }
  }

  /** Submits an intent and waits until its run parks: the run's id. */
  submit(intent, inputs, key) {
    return this.cli(["intent", "submit", intent, "--idempotency-key", key, "--wait", "--json", JSON.stringify(inputs)]).run.id;
  }

  refund(key, amount = 24000) {
    return this.submit("goodwill_refund", { invoice: "in_000042_1", amount, currency: "eur", reason: "The device arrived broken." }, key);
  }

  change(key, account = "ACC-0007") {
    return this.submit("contract_field_change", { account, field: "PaymentTermsDays", value: "45", reason: "Agreed on the phone." }, key);
  }

  run(id) { return this.cli(["run", "get", id]); }
  ask(run) { return this.run(run).waiting_for[0]; }

  /** Approves whatever a run asks for, one ask after the other. */
  approveAll(run) {
    for (;;) {
      const detail = this.run(run);
      if (!detail.waiting_for.length) return detail;
      const card = this.cli(["approval", "get", detail.waiting_for[0]], "mira");
      this.cli(["approval", "approve", card.approval, "--digest", card.digest], "mira");
    }
  }

  async fault(rule) {
    const body = JSON.stringify(rule);
    const answer = await fetch(`${this.place.url}/_world/faults`, { method: "POST", headers: { "content-type": "application/json" }, body });
    if (answer.status !== 201) throw new Error(await answer.text());
  }

  /** What the world did, by its own ledger. */
  async effects(operation) {
    const { effects } = await (await fetch(`${this.place.url}/_world/effects`)).json();
    return effects.filter((effect) => effect.operation === operation);
  }

  async heal() { await fetch(`${this.place.url}/_world/faults`, { method: "DELETE" }); }

  async close() {
    this.server?.kill("SIGKILL");
    this.world?.kill("SIGKILL");
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** What a browser complained about: nothing, if all is well. */
export const complaints = [];

export const browser = () => chromium.launch({
  executablePath: chrome,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});

/** A signed-in page of this person. `expected` are statuses that a test provokes. */
export async function visit(browser, office, person, { width = 1440, height = 900, scheme = "light", script = true, expected = [] } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: script, baseURL: office.url });
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  const provoked = (text) => expected.some((status) => text.includes(`status of ${status}`)) || (expected.includes("gone") && /ERR_CONNECTION|ERR_INCOMPLETE|ERR_EMPTY|Failed to fetch/.test(text));
  page.on("console", (message) => { if (message.type() === "error" && !provoked(message.text())) complaints.push(`${page.url()}: ${message.text()}`); });
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
  page.setDefaultTimeout(15_000);
  await page.goto(office.cli(["token", "link"], person).path);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL("**/approvals");
  return page;
}

/** Keeps a picture of a page, when somebody wants to look. */
export async function picture(page, name) {
  if (process.env.HARNESS_UI_SHOTS) await page.screenshot({ path: join(process.env.HARNESS_UI_SHOTS, `${name}.png`), fullPage: true });
}

/** What axe finds on a page. Its script comes in beside the page's policy, as a debugger's would. */
export async function findings(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: axe });
  const { result } = await session.send("Runtime.evaluate", { expression: "axe.run().then((found) => JSON.stringify(found.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html.slice(0, 120)).join(' | ')}`)))", awaitPromise: true, returnByValue: true });
  await session.detach();
  return JSON.parse(result.value);
}
