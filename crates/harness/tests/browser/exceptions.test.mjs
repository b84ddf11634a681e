// What people decide about runs that need them, each way a page offers; and lists in every state.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Office, browser as launch, complaints, findings, picture, visit } from "./office.mjs";

let office, browser;
before(async () => { [office, browser] = await Promise.all([Office.open(), launch()]); });
after(async () => { await browser?.close(); await office?.close(); });

async function closing(page, body) {
  try { await body(page); } finally { await page.context().close(); }
}

/** A run that cannot read its account, and needs a person for it. */
async function stuck(key, account) {
  await office.fault({ system: "crm", operation: "crm.get_account", kind: "403" });
  const run = office.change(key, account);
  await office.heal();
  const detail = office.run(run);
  assert.equal(detail.run.status, "needs_person", JSON.stringify(detail));
  return { run, exception: detail.exceptions[0] };
}

/** Decides about an exception on its page. */
async function decide(page, exception, verb, why, fill = async () => {}) {
  await page.goto(`/exceptions/${exception}`);
  await page.locator(`#verb-${verb} > summary`).click();
  await fill(page.locator(`#verb-${verb}`));
  await page.locator(`#verb-${verb} textarea[name=evidence]`).fill(why);
  await page.locator(`#verb-${verb} button`).click();
  await page.locator("#outcome", { hasText: `Settled: ${verb.replaceAll("_", " ")}, by person:ulla` }).waitFor();
  await page.getByText(why).first().waitFor();
  assert.equal(await page.locator("#decide").count(), 0, "nothing is left to decide");
}

/** Until a run stands so. */
async function stands(run, status) {
  for (let n = 0; n < 100; n += 1) {
    if (office.run(run).run.status === status) return office.run(run);
    await new Promise((soon) => setTimeout(soon, 100));
  }
  return assert.fail(JSON.stringify(office.run(run)));
}

test("retry: the step runs again, and the run goes on", async () => {
  const { run, exception } = await stuck("retry", "ACC-0007");
  await closing(await visit(browser, office, "ulla"), (page) => decide(page, exception, "retry", "The right was given back."));
  assert.equal((await stands(run, "asking")).exceptions.length, 0);
});

test("skip: the run goes on without the step", async () => {
  const { run, exception } = await stuck("skip", "ACC-0031");
  await closing(await visit(browser, office, "ulla"), (page) => decide(page, exception, "skip", "The contract is enough."));
  assert.equal((await stands(run, "asking")).exceptions.length, 0);
});

test("answer: what a person says stands for what the step would have said, if it fits", async () => {
  const { run, exception } = await stuck("answer", "ACC-0064");
  const { tokens } = await (await fetch(`${office.place.url}/_world`)).json();
  const account = await (await fetch(`${office.place.url}/crm/accounts/ACC-0064`, { headers: { authorization: `Bearer ${tokens.crm.read ?? tokens.crm.write}` } })).json();
  await closing(await visit(browser, office, "ulla", { expected: [400, 422] }), async (page) => {
    const answer = (text) => (verb) => verb.locator("textarea[name=value]").fill(text);
    await page.goto(`/exceptions/${exception}`);
    await page.locator("#verb-use > summary").click();
    await answer("{")(page.locator("#verb-use"));
    await page.locator("#verb-use textarea[name=evidence]").fill("As I see it there.");
    await page.locator("#verb-use button").click();
    await page.getByRole("alert").filter({ hasText: "this is not JSON" }).waitFor();
    await decide(page, exception, "use", "As I see it there.", answer(JSON.stringify(account)));
  });
  assert.equal((await stands(run, "asking")).exceptions.length, 0);
});

test("stop: the run ends as declared", async () => {
  const { run, exception } = await stuck("stop", "ACC-0088");
  await closing(await visit(browser, office, "ulla"), (page) => decide(page, exception, "stop", "Not worth it."));
  await stands(run, "failed");
});

test("rollback: what the run had done before it got stuck is taken back", async () => {
  const run = office.change("rolled", "ACC-0003");
  // The read after the write; the two before it are its images.
  await office.fault({ system: "crm", operation: "crm.get_contract", kind: "403", on_call: 3 });
  office.approveAll(run);
  await office.heal();
  const [exception] = (await stands(run, "needs_person")).exceptions;
  await closing(await visit(browser, office, "ulla"), (page) => decide(page, exception, "rollback", "Not like this."));
  await stands(run, "rolled_back");
});

test("did not happen: a no that comes too early does not count; rollback leaves the doubt open", async () => {
  await office.fault({ system: "mail", operation: "*", kind: "reset", phase: "after", on_call: 1 });
  const run = office.submit("renewal_risk_review", { account: "ACC-0042" }, "doubt");
  const [exception] = office.approveAll(run).exceptions;
  await office.heal();
  await closing(await visit(browser, office, "ulla", { expected: [409] }), async (page) => {
    const say = async (verb, why) => {
      await page.goto(`/exceptions/${exception}`);
      await page.locator(`#verb-${verb} > summary`).click();
      await page.locator(`#verb-${verb} textarea[name=evidence]`).fill(why);
      await page.locator(`#verb-${verb} button`).click();
    };
    await say("did_not_happen", "The outbox of the server is empty.");
    await page.getByRole("alert").filter({ hasText: "too early to say" }).waitFor();
    await picture(page, "exception-too-early");
    assert.deepEqual(office.run(run).exceptions, [exception]);
    await say("rollback", "Better taken back.");
    await page.getByText("Decision recorded.").waitFor();
    // The mail names no record: what came before it may hang on it, and stays until the doubt is settled.
    await page.goto(`/rollback/${run}`);
    await page.getByText("Refused: nothing was touched").waitFor();
    await page.getByText(/nobody knows whether the later action/i).first().waitFor();
    assert.equal(await page.getByRole("button", { name: /Take back/ }).count(), 0, "nothing is promised that does not happen");
    await picture(page, "rollback-doubt");
  });
  assert.deepEqual((await stands(run, "cancelled")).exceptions, [exception]);
});

test("close: what was put right by hand is off the queue", async () => {
  const run = office.change("close", "ACC-0113");
  office.approveAll(run);
  const { tokens } = await (await fetch(`${office.place.url}/_world`)).json();
  const meddled = await fetch(`${office.place.url}/crm/contracts/CTR-0113`, {
    method: "PATCH",
    headers: { authorization: `Bearer ${tokens.crm.write}`, "content-type": "application/json", "idempotency-key": "by-hand" },
    body: JSON.stringify({ Terms: { PaymentTermsDays: 61 } }),
  });
  assert.equal(meddled.status, 200);
  await closing(await visit(browser, office, "ulla"), async (page) => {
    await page.goto(`/rollback/${run}`);
    await page.getByRole("button", { name: /Take back 1 effect/ }).click();
    await page.getByText("The world moved", { exact: true }).waitFor();
    const exception = office.run(run).exceptions[0];
    await page.goto(`/exceptions/${exception}`);
    // Overwriting begins with a look at the difference, never with a press here.
    await page.locator("#verb-accept > summary").click();
    await page.getByRole("button", { name: "See the difference first" }).click();
    await page.waitForURL(`**/rollback/${run}*`);
    await decide(page, exception, "close", "Agreed with whoever changed it.");
  });
  assert.deepEqual(office.run(run).exceptions, []);
});

test("C015: an exception is given to somebody on its page, and they see that it is theirs", async () => {
  const { exception } = await stuck("given", "ACC-0042");
  await closing(await visit(browser, office, "ulla", { width: 390, height: 844, expected: [400, 404] }), async (page) => {
    await page.goto(`/exceptions/${exception}`);
    await page.getByText("Have somebody look after it").click();
    assert.deepEqual(await findings(page), []);
    await picture(page, "exception-assign-narrow");
    await page.locator("#assign input[name=to]").fill("nobody");
    await page.getByRole("button", { name: "Have them look after it" }).click();
    await page.getByRole("alert").filter({ hasText: "nobody" }).waitFor();
    await page.getByText("Have somebody look after it").click();
    await page.locator("#assign input[name=to]").fill("mira");
    await page.locator("#assign input[name=note]").fill("You know the customer.");
    await page.getByRole("button", { name: "Have them look after it" }).click();
    await page.getByText("They look after it now.").waitFor();
    await page.getByText("person:mira looks after it").waitFor();
  });
  await closing(await visit(browser, office, "mira"), async (page) => {
    await page.goto(`/exceptions/${exception}`);
    await page.getByText("You look after it").waitFor();
    await page.getByText("given by person:ulla").waitFor();
    await page.getByText("You know the customer.").waitFor();
    await picture(page, "exception-assigned");
  });
});

test("lists that are empty say so, and what to do", async () => {
  const bare = await Office.open({ packs: "[]" });
  try {
    await closing(await visit(browser, bare, "mira"), async (page) => {
      for (const [path, words] of [["/approvals", "Nothing waits for you"], ["/exceptions", "Nothing needs a person"], ["/runs", "No run yet"], ["/receipts", "No receipt here yet"], ["/packs", "There is no pack"]]) {
        await page.goto(path);
        await page.getByText(words).waitFor();
        assert.deepEqual(await findings(page), [], path);
        await picture(page, `empty${path.replace("/", "-")}`);
      }
    });
  } finally { await bare.close(); }
});

const LISTS = ["/approvals", "/exceptions", "/runs", "/receipts", "/packs"];

test("lists that may be out of date say so until they are not", async () => {
  await closing(await visit(browser, office, "mira", { expected: [502] }), async (page) => {
    const refuse = (route) => route.fulfill({ status: 502, body: "no" });
    for (const path of LISTS) {
      await page.route("**/live", refuse);
      await page.route((url) => url.pathname === path, (route) => (route.request().headers()["x-live"] ? refuse(route) : route.continue()));
      await page.goto(path);
      await page.locator("body.stale").waitFor();
      await page.getByText("Reconnecting").waitFor();
      await picture(page, `stale${path.replace("/", "-")}`);
      await page.unrouteAll();
      await page.locator("#live.on").waitFor();
      await page.locator("body:not(.stale)").waitFor();
    }
  });
});

test("lists that are slow to come say that they are loading", async () => {
  await closing(await visit(browser, office, "mira"), async (page) => {
    for (const [n, path] of LISTS.entries()) {
      const from = LISTS[(n + 1) % LISTS.length];
      await page.goto(from);
      await page.locator("#live.on").waitFor();
      const seen = page.evaluate(() => new Promise((seen) => {
        const look = () => document.body.classList.contains("loading") && seen(document.querySelector("main").getAttribute("aria-busy"));
        new MutationObserver(look).observe(document, { attributes: true, childList: true, subtree: true });
      }));
      await page.route(`**${path}?slow`, async (route) => { await seen; await route.continue(); });
      await page.evaluate((to) => setTimeout(() => location.assign(`${to}?slow`)), path);
      assert.equal(await seen, "true", path);
      await page.waitForURL(`**${path}?slow`);
      await page.locator("#live.on").waitFor();
      assert.equal(await page.locator("body.loading").count(), 0, path);
    }
  });
});

test("no page complained", () => assert.deepEqual(complaints, []));
