// A page behind something that answers for the server: a proxy during a deploy, a limit, an end of the session.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Office, browser as launch, complaints, findings, picture, visit } from "./office.mjs";

let office, browser;
before(async () => { [office, browser] = await Promise.all([Office.open(), launch()]); });
after(async () => { await browser?.close(); await office?.close(); });

const mark = (page) => page.evaluate(() => { window.same = true; });
const isSame = (page) => page.evaluate(() => window.same === true);
const outcome = (page, text) => page.locator("#outcome", { hasText: text });
const live = (page) => page.locator("#live.on").waitFor();
const approve = (ask) => {
  const card = office.cli(["approval", "get", ask], "nora");
  office.cli(["approval", "approve", ask, "--digest", card.digest], "nora");
};

/** What a page asks for by itself. */
const own = (request) => request.url().endsWith("/live") || request.headers()["x-live"] === "1";

for (const status of [502, 429, 503]) {
  test(`a ${status} in front of the server ends nothing: the page comes back by itself`, async () => {
    const ask = office.ask(office.refund(`front ${status}`));
    const page = await visit(browser, office, "mira", { expected: [status] });
    let refused = 0;
    const refuse = (route) => {
      if (!own(route.request())) return route.continue();
      refused += 1;
      return route.fulfill({ status, contentType: "text/html", body: "<h1>Bad gateway</h1>", headers: { "retry-after": "1" } });
    };
    await page.route("**/*", refuse);
    await page.goto(`/approvals/${ask}`);
    await page.getByText("Reconnecting").waitFor();
    await page.locator("body.stale").waitFor();
    await mark(page);
    await page.locator("#reason").fill("half a sen");
    // Somebody else decides meanwhile. The page cannot know; it does not say that it is current either.
    approve(ask);
    while (refused < 4) await page.waitForTimeout(100);
    assert.ok(await page.locator("body.stale").count(), "an answer that is no page does not make it current");
    assert.equal(await page.locator("#reason").inputValue(), "half a sen");
    await page.unroute("**/*", refuse);
    await outcome(page, "Approved by person:nora").waitFor({ timeout: 60_000 });
    await live(page);
    await page.locator("body:not(.stale)").waitFor();
    assert.equal(await page.locator("#decide").count(), 0, "nothing is left to press");
    assert.ok(await isSame(page), "not loaded again");
    await page.context().close();
  });
}

test("where no stream comes through, the page looks again by itself", async () => {
  const ask = office.ask(office.refund("no stream"));
  const page = await visit(browser, office, "mira", { expected: [502] });
  await page.route("**/live", (route) => route.fulfill({ status: 502, body: "no" }));
  await page.goto(`/approvals/${ask}`);
  await page.getByText("Reconnecting").waitFor();
  await mark(page);
  approve(ask);
  await outcome(page, "Approved by person:nora").waitFor({ timeout: 60_000 });
  assert.ok(await isSame(page));
  await page.context().close();
});

test("whose session has ended is told so, keeps what was typed, and goes on after signing in", async () => {
  const ask = office.ask(office.refund("session"));
  const page = await visit(browser, office, "mira");
  await page.goto(`/approvals/${ask}`);
  await live(page);
  await mark(page);
  await page.locator("#reason").fill("half a sen");
  const other = await page.context().newPage();
  await other.goto("/runs");
  await other.locator("details.who > summary").click();
  await other.getByRole("button", { name: "Sign out" }).click();
  await other.waitForURL("**/sign-in");
  await page.getByText("Signed out", { exact: true }).waitFor({ timeout: 30_000 });
  const link = page.getByRole("link", { name: "Sign in again" });
  assert.equal(await link.getAttribute("href"), `/sign-in?to=${encodeURIComponent(`/approvals/${ask}`)}`);
  assert.ok(await page.locator("body.stale").count());
  assert.equal(await page.locator("#reason").inputValue(), "half a sen");
  assert.deepEqual(await findings(page), []);
  await picture(page, "signed-out");
  await page.setViewportSize({ width: 390, height: 844 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth) <= 390);
  await picture(page, "signed-out-narrow");
  await other.goto(office.cli(["token", "link"], "mira").path);
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.waitForURL("**/approvals");
  await page.evaluate(() => dispatchEvent(new Event("focus")));
  await live(page);
  assert.equal(await link.isVisible(), false);
  assert.ok(await isSame(page));
  await page.context().close();
});

test("a 204 of the stream alone is asked about: whoever is still signed in goes on listening", async () => {
  const page = await visit(browser, office, "mira");
  let first = true;
  await page.route("**/live", (route) => {
    if (!first) return route.continue();
    first = false;
    return route.fulfill({ status: 204 });
  });
  await page.goto("/runs");
  await live(page);
  assert.equal(first, false);
  await page.context().close();
});

test("after a refused form the page still follows what others do", async () => {
  const ask = office.ask(office.refund("refused form"));
  const page = await visit(browser, office, "mira", { expected: [400, 403, 404, 405, 422] });
  await page.goto(`/approvals/${ask}`);
  await page.getByText("Have somebody look after it").click();
  await page.locator("#assign input[name=to]").fill("nobody of that name");
  await page.getByRole("button", { name: "Have them look after it" }).click();
  await page.waitForURL("**/claim");
  await page.getByRole("alert").filter({ hasText: "nobody of that name" }).waitFor();
  await picture(page, "assign-refused");
  assert.equal(await page.locator("#reason").getAttribute("aria-invalid"), null, "the reason has no part in it");
  await live(page);
  await mark(page);
  approve(ask);
  await outcome(page, "Approved by person:nora").waitFor();
  assert.equal(await page.locator("#decide").count(), 0, "nothing is left to press");
  assert.ok(await isSame(page));
  await page.context().close();
});

test("a page whose thing is gone says so", async () => {
  const run = office.refund("gone");
  const page = await visit(browser, office, "mira", { expected: [404] });
  await page.goto(`/runs/${run}`);
  await live(page);
  const body = await (await page.request.get("/runs/run_00000000000000000000000000000000", { headers: { accept: "text/html" } })).text();
  await page.route(`**/runs/${run}`, (route) => route.fulfill({ status: 404, contentType: "text/html", body }));
  office.cli(["run", "pause", run]);
  await page.getByRole("heading", { name: "There is no such thing" }).waitFor();
  assert.equal(await page.locator("#steer").count(), 0);
  await page.context().close();
});

test("no page complained", () => assert.deepEqual(complaints, []));
