// Keeps a page as the server would draw it now, and adds keys. Everything works without it.
(() => {
  "use strict";
  const $ = (css, at = document) => at.querySelector(css);
  const all = (css, at = document) => [...at.querySelectorAll(css)];
  const body = document.body, lamp = $("#live"), toast = $("#toast");
  const say = (text) => { toast.textContent = text; clearTimeout(say.timer); say.timer = setTimeout(() => { toast.textContent = ""; }, 6000); };

  // --- Patching: the same page again, node by node; what somebody typed, opened or holds stays.
  const mine = (node) => node.nodeType === 1 && (node.dataset.keep !== undefined || (node.matches("input,textarea,select") && node.dataset.touched !== undefined));
  const like = (a, b) => a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.id || "") === (b.id || "");
  function morph(old, now) {
    if (old.nodeType !== 1) { if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue; return; }
    if (mine(old)) return;
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
    let at = old.firstChild;
    for (const next of [...now.childNodes]) {
      let same = at;
      if (next.id) for (same = at; same && same.id !== next.id;) same = same.nextSibling;
      if (same && like(same, next)) {
        while (at !== same) { const gone = at; at = at.nextSibling; gone.remove(); }
        morph(same, next); at = same.nextSibling;
      } else { const node = document.importNode(next, true); old.insertBefore(node, at); if (node.classList) node.classList.add("fresh"); }
    }
    while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
  }
  let busy = false, again = false;
  async function refresh() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1" }, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const open = $("#decide") !== null;
      for (const now of all("[data-patch]", page)) {
        const old = document.getElementById(now.id);
        if (old) morph(old, now);
      }
      body.classList.remove("stale");
      if (open && !$("#decide") && $("#outcome")) say($("#outcome").textContent.trim());
      clock();
    } catch { stale(); } finally { busy = false; if (again) { again = false; soon(); } }
  }
  let pending;
  const soon = () => { clearTimeout(pending); pending = setTimeout(refresh, 120); };
  addEventListener("input", (event) => { if (event.target.dataset) event.target.dataset.touched = ""; });

  // --- The stream names what changed; only a page that shows it is drawn again.
  const lampSays = (state, text) => { lamp.className = `live ${state}`; $(".word", lamp).textContent = text; };
  const stale = () => { body.classList.add("stale"); lampSays("off", "Reconnecting"); };
  if (body.dataset.live) {
    const stream = new EventSource(body.dataset.live);
    let dropped = false;
    stream.onopen = () => { lampSays("on", "Live"); if (dropped) soon(); dropped = false; };
    stream.onerror = () => { dropped = true; stale(); };
    const heard = (event) => {
      let about = {};
      try { about = JSON.parse(event.data); } catch { /* look again */ }
      if (!body.dataset.run || !about.run || about.run === body.dataset.run || $("[data-any]")) soon();
    };
    for (const name of ["run", "reset"]) stream.addEventListener(name, heard);
  }

  // --- Time: what ends is told how long it has, and dies where it stands.
  const spell = (ms) => ms < 60000 ? `${Math.max(1, Math.round(ms / 1000))} s` : ms < 7200000 ? `${Math.round(ms / 60000)} min` : ms < 172800000 ? `${Math.round(ms / 3600000)} h` : `${Math.round(ms / 86400000)} d`;
  let dead = "";
  function clock() {
    const now = Date.now();
    for (const time of all("time[data-until]")) {
      const left = Date.parse(time.dateTime) - now;
      time.textContent = left > 0 ? `in ${spell(left)}` : "expired";
    }
    const card = $("[data-expires]");
    if (card && Date.parse(card.dataset.expires) <= now) {
      card.classList.add("gone");
      for (const button of all("button", card)) button.disabled = true;
      const note = $("#expired", card);
      if (note) note.hidden = false;
      // Once a card: whose clock is ahead of the server's must not ask it again and again.
      if (dead !== card.id) { dead = card.id; say("This ask has expired; nothing more can be decided here."); soon(); }
    }
  }
  setInterval(clock, 1000); clock();

  // --- Keys move and open; none of them decides.
  const items = () => all("[data-item]").filter((item) => item.offsetParent !== null);
  function step(by) {
    const list = items(), held = list.indexOf(document.activeElement);
    const from = held >= 0 ? held : list.findIndex((item) => item.hasAttribute("aria-current"));
    const next = list[Math.min(list.length - 1, Math.max(0, from + by))];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
  }
  const hold = (css) => { const node = $(css); if (node) { node.focus(); node.scrollIntoView({ block: "nearest" }); } };
  const places = { a: "/approvals", e: "/exceptions", r: "/runs", c: "/receipts", p: "/packs" };
  let going = 0;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.matches("input, textarea, select")) { if (event.key === "Escape") event.target.blur(); return; }
    const go = places[event.key];
    if (Date.now() - going < 1200 && go) { going = 0; location.assign(go); return; }
    const keys = {
      j: () => step(1), k: () => step(-1), a: () => hold("[data-key=a]"), d: () => hold("[data-key=d]"), s: () => hold("[data-key=s]"),
      "/": () => hold("[data-key=search]"), g: () => { going = Date.now(); }, "?": () => $("#help").showModal(),
    };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  addEventListener("click", (event) => {
    const help = event.target.closest("[data-help]");
    if (help) $("#help").showModal();
    const copy = event.target.closest("[data-copy]");
    if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => say("Copied"));
    for (const open of all("details.menu[open], details.who[open]")) if (!open.contains(event.target)) open.removeAttribute("open");
  });
  addEventListener("submit", (event) => { for (const button of all("button", event.target)) setTimeout(() => { button.disabled = true; }); });

  // --- Leaving: a page that is asked for and does not come at once is told; what stands here is the old one.
  const leaving = (now) => { $("main").setAttribute("aria-busy", String(now)); body.classList.toggle("loading", now); };
  let slow, slower;
  addEventListener("beforeunload", () => {
    for (const timer of [slow, slower]) clearTimeout(timer);
    slow = setTimeout(() => { say("Loading"); leaving(true); }, 200);
    slower = setTimeout(() => say("The service is slow to answer. Nothing is lost; loading goes on."), 8000);
  });
  // Whoever stops it has the page as it was.
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const timer of [slow, slower]) clearTimeout(timer);
    leaving(false);
  }, true);
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  for (const only of all("[data-js]")) only.hidden = false;
  if (toast.dataset.say) say(toast.dataset.say);
})();
