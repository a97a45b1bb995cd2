/* Two elements that the template tags render; no inline script, no dependency.
 *
 * <llmrec-list src>     fetches its list, so that a page from a shared cache holds nobody's.
 * <llmrec-beacon …>     tells the site what became of the lists on the page, and which resource was read how long.
 *
 * What the beacon looks for in a list (an element with data-llmrec-list, the id of the stored list):
 *   [data-llmrec-item]       an item, by the key of its resource; where there is none, its link
 *   a[data-llmrec-key]       a link to the resource
 *   [data-llmrec-controls]   shown once the beacon listens
 *   [data-llmrec-dismiss]    a button that turns the item down, for the reason in its value
 *   [data-llmrec-reason]     a reason, by the key of its resource, in a list with [data-llmrec-reasons], an address
 *   [data-llmrec-dismissed]  what takes the item's place then; [data-llmrec-undo] in it takes it back
 */
(function () {
  "use strict";
  if (!window.customElements || customElements.get("llmrec-list")) return;

  class LLMRecList extends HTMLElement {
    connectedCallback() {
      if (this.dataset.state) return;
      this.dataset.state = "loading";
      fetch(this.getAttribute("src"), { credentials: "same-origin", cache: "no-store" })
        // Where the session has ended a site may answer with its login page, which is no list.
        .then((response) => (response.ok && !response.redirected ? response.text() : ""))
        .catch(() => "")
        .then((html) => {
          this.innerHTML = html;
          this.dataset.state = html.trim() ? "shown" : "empty";
          this.dispatchEvent(new CustomEvent("llmrec:loaded", { bubbles: true }));
        });
    }
  }

  const LOOKED_AT_MS = 1000; // An item that is scrolled past was not seen.

  function cookie(name) {
    const found = name && document.cookie.split("; ").find((part) => part.startsWith(name + "="));
    return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
  }

  function keyOf(item) {
    return item.dataset.llmrecItem || item.dataset.llmrecKey;
  }

  // One for each thing a person does: sent twice it counts once, done twice it counts twice.
  function eventId() {
    return window.crypto && crypto.randomUUID ? crypto.randomUUID() : Date.now() + "-" + Math.random();
  }

  /* Calls back with the seconds that the page has been on the screen, whenever it leaves it. */
  function whileVisible(onHide) {
    let total = 0;
    let since = document.visibilityState === "visible" ? Date.now() : 0;
    const look = () => {
      if (document.visibilityState === "visible") {
        since = since || Date.now();
      } else if (since) {
        total += Date.now() - since;
        since = 0;
        onHide(total / 1000);
      }
    };
    document.addEventListener("visibilitychange", look);
    window.addEventListener("pagehide", () => {
      if (since) onHide((total + Date.now() - since) / 1000);
    });
  }

  class LLMRecBeacon extends HTMLElement {
    connectedCallback() {
      if (this.started) return;
      this.started = true;
      const found = cookie(this.dataset.csrfCookie);
      this.token = found ? Promise.resolve(found) : this.fetchToken();
      this.token.then((token) => { this.readyToken = token; });
      // One beacon a page looks after the lists, however many the page holds.
      if (!window.llmrecLists) {
        window.llmrecLists = true;
        this.watchLists();
      }
      if (this.dataset.key) this.watchReading();
    }

    fetchToken() {
      return fetch(this.dataset.tokenUrl, { credentials: "same-origin", cache: "no-store" })
        .then((response) => (response.ok ? response.json() : {}))
        .then((answer) => answer.token || "")
        .catch(() => "");
    }

    watchLists() {
      const clicked = (event) => {
        if (event.type === "auxclick" && event.button !== 1) return;
        const target = event.target.closest ? event.target : event.target.parentElement;
        if (!target) return;
        const link = target.closest("a[data-llmrec-key]");
        if (link) this.send("clicked", { key: link.dataset.llmrecKey, list: this.listOf(link) });
        const button = event.type === "click" && target.closest("[data-llmrec-dismiss], [data-llmrec-undo]");
        if (button) this.dismiss(button);
      };
      document.addEventListener("click", clicked, true);
      document.addEventListener("auxclick", clicked, true);
      this.shown = new Map();
      this.observer = window.IntersectionObserver && new IntersectionObserver((entries) => entries.forEach((entry) => this.look(entry)), { threshold: [0, 0.5] });
      window.addEventListener("pagehide", () => this.sendShown());
      this.prepare(document);
      document.addEventListener("llmrec:loaded", (event) => this.prepare(event.target));
    }

    listOf(element) {
      const list = element.closest("[data-llmrec-list]");
      return list ? list.dataset.llmrecList : "";
    }

    prepare(root) {
      root.querySelectorAll("[data-llmrec-list]").forEach((list) => {
        list.querySelectorAll("[data-llmrec-controls]").forEach((element) => { element.hidden = false; });
        const keys = new Set();
        list.querySelectorAll("[data-llmrec-item], [data-llmrec-key]").forEach((item) => {
          if (keys.has(keyOf(item))) return;
          keys.add(keyOf(item));
          if (this.observer) this.observer.observe(item);
        });
      });
    }

    look(entry) {
      const item = entry.target;
      const height = entry.intersectionRect.height;
      // A tall item on a small screen never shows half of itself.
      const seen = entry.isIntersecting && (entry.intersectionRatio >= 0.5 || height >= window.innerHeight / 2);
      clearTimeout(item.llmrecTimer);
      if (!seen) return;
      item.llmrecTimer = setTimeout(() => {
        if (document.visibilityState !== "visible") return;
        this.observer.unobserve(item);
        const list = this.listOf(item);
        if (!this.shown.has(list)) this.shown.set(list, []);
        this.shown.get(list).push(keyOf(item));
        clearTimeout(this.shownTimer);
        this.shownTimer = setTimeout(() => this.sendShown(), 300);
      }, LOOKED_AT_MS);
    }

    sendShown() {
      this.shown.forEach((keys, list) => this.send("shown", { key: keys, list }));
      this.shown.clear();
    }

    dismiss(button) {
      const item = button.closest("[data-llmrec-item]");
      if (!item || item.llmrecBusy) return;
      const undo = !button.dataset.llmrecDismiss;
      const values = { key: keyOf(item), list: this.listOf(item), id: eventId() };
      if (!undo) values.reason = button.dataset.llmrecDismiss;
      item.llmrecBusy = true;
      this.token
        .then((token) => fetch(this.dataset.url, {
          method: "POST",
          body: this.body(undo ? "restored" : "dismissed", values, token),
          credentials: "same-origin",
        }))
        .then((response) => { if (response.ok) this.settle(item, !undo); })
        .catch(() => {})
        .then(() => { item.llmrecBusy = false; });
    }

    settle(item, dismissed) {
      Array.from(item.children).forEach((child) => {
        child.hidden = child.hasAttribute("data-llmrec-dismissed") ? !dismissed : dismissed;
      });
      item.querySelectorAll("details").forEach((details) => { details.open = false; });
      item.toggleAttribute("data-llmrec-is-dismissed", dismissed);
      const next = item.querySelector(dismissed ? "[data-llmrec-undo]" : "summary");
      if (next) next.focus();
      item.dispatchEvent(new CustomEvent(dismissed ? "llmrec:dismissed" : "llmrec:restored", { bubbles: true }));
    }

    /* Counts only the time in which the page can be seen: a tab opened in the background was not read. */
    watchReading() {
      let left = Number(this.dataset.seconds) * 1000;
      let since = 0;
      let timer = 0;
      const look = () => {
        if (document.visibilityState === "visible") {
          since = Date.now();
          timer = setTimeout(() => {
            document.removeEventListener("visibilitychange", look);
            this.send("viewed", { key: this.dataset.key });
          }, Math.max(0, left));
        } else if (timer) {
          clearTimeout(timer);
          left -= Date.now() - since;
          timer = 0;
        }
      };
      document.addEventListener("visibilitychange", look);
      look();
      // The longest report counts, so each one says all that went before.
      whileVisible((seconds) => this.send("read", { key: this.dataset.key, seconds: seconds.toFixed(1) }));
    }

    body(verb, values, token) {
      const body = new FormData();
      body.append("verb", verb);
      Object.entries(values).forEach(([name, value]) => {
        (Array.isArray(value) ? value : [value]).forEach((one) => { if (one) body.append(name, one); });
      });
      body.append("csrfmiddlewaretoken", token);
      return body;
    }

    send(verb, values) {
      // A page that is being left waits for no promise.
      if (!this.readyToken) {
        this.token.then((token) => { if (token) this.post(verb, values, token); });
      } else {
        this.post(verb, values, this.readyToken);
      }
    }

    post(verb, values, token) {
      const body = this.body(verb, values, token);
      // A beacon survives the page being left by the very click it reports.
      if (navigator.sendBeacon && navigator.sendBeacon(this.dataset.url, body)) return;
      fetch(this.dataset.url, { method: "POST", body, keepalive: true, credentials: "same-origin" }).catch(() => {});
    }
  }

  /* Asks once, and once more, for reasons that a language model has worded meanwhile. What is shown stays until then. */
  const REASONS_AFTER_MS = [4000, 20000];

  function betterReasons(root, left) {
    const lists = root.matches && root.matches("[data-llmrec-reasons]") ? [root] : root.querySelectorAll("[data-llmrec-reasons]");
    lists.forEach((list) => {
      if (left === REASONS_AFTER_MS && list.llmrecAsked) return;
      list.llmrecAsked = true;
      setTimeout(() => {
        fetch(list.dataset.llmrecReasons, { credentials: "same-origin", cache: "no-store" })
          .then((response) => (response.ok && !response.redirected ? response.json() : {}))
          .then((answer) => {
            list.querySelectorAll("[data-llmrec-reason]").forEach((element) => {
              const text = answer.reasons && answer.reasons[element.dataset.llmrecReason];
              if (typeof text === "string" && text) element.textContent = text;
            });
            if (answer.wait && left.length > 1) betterReasons(list, left.slice(1));
          })
          .catch(() => {});
      }, left[0]);
    });
  }

  betterReasons(document, REASONS_AFTER_MS);
  document.addEventListener("llmrec:loaded", (event) => betterReasons(event.target, REASONS_AFTER_MS));

  customElements.define("llmrec-list", LLMRecList);
  customElements.define("llmrec-beacon", LLMRecBeacon);
})();
