// A word to an agent on its way, from the page of its run.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Office, browser as launch, findings, picture, visit } from "./office.mjs";

const script = `- calls: [{tool: mail_send, with: {to: [ana@example.com], subject: Hello, text: Hello Ana.}}]
- says: Understood.
`;
const models = `[providers.script]\napi = "scripted"\nscript = "answers.yaml"
[models.main]\nproviders = ["script"]\n`;

let office, browser;
before(async () => {
  const pack = (folder) => writeFileSync(join(folder, "../../answers.yaml"), script);
  [office, browser] = await Promise.all([Office.open({ more: models, pack }), launch()]);
});
after(async () => { await browser?.close(); await office?.close(); });

const told = (run) => office.cli(["run", "events", run]).items.filter((event) => event.kind === "steered").length;
const begin = (key) => office.cli(["run", "Write to Ana now, please", "--write", "--idempotency-key", key]).run.id;

test("an operator says something to an agent, with a script and without", async () => {
  const run = begin("told");
  for (const [count, options] of [{}, { script: false }].entries()) {
    const page = await visit(browser, office, "ulla", options);
    await page.goto(`/runs/${run}`);
    await page.getByRole("heading", { name: "Say something to the agent" }).waitFor();
    await page.getByLabel("What it should know").fill("Only in German, please.");
    if (count === 0) {
      assert.deepEqual(await findings(page), []);
      await picture(page, "run-tell");
    }
    await page.getByRole("button", { name: "Say it" }).click();
    await page.waitForURL(/said=told/);
    assert.equal(told(run), count + 1);
    await page.context().close();
  }
  // It approves nothing, and once the run has ended nobody is there to hear.
  assert.equal(office.run(run).run.status, "asking");
  const page = await visit(browser, office, "ulla");
  await page.goto(`/runs/${run}`);
  await page.locator("#live.on").waitFor();
  await page.getByLabel("What it should know").fill("Half a sent");
  office.approveAll(run);
  await page.locator(".tag", { hasText: "Succeeded" }).waitFor();
  await page.locator("#tell").waitFor({ state: "detached" });
  await page.context().close();
});

test("nothing is shown where nobody hears it, or to those who may not", async () => {
  const [agent, playbook] = [begin("shown"), office.refund("shown")];
  const page = await visit(browser, office, "ulla");
  await page.goto(`/runs/${playbook}`);
  await page.getByRole("heading", { name: "Hold or stop it" }).waitFor();
  assert.equal(await page.locator("#tell").count(), 0, "a playbook has no agent");
  await page.context().close();
  const looking = await visit(browser, office, "lars");
  await looking.goto(`/runs/${agent}`);
  await looking.getByText("You can neither hold nor stop it").waitFor();
  assert.equal(await looking.locator("#tell").count(), 0, "a viewer tells nobody anything");
  await looking.context().close();
});
