/* Two elements that the template tags render; no inline script, no dependency.
 *
 * <llmrec-list src>     fetches its list, so that a page from a shared cache holds nobody's.
 * <llmrec-beacon …>     tells the site which resource was read and which recommended links were followed.
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

  function cookie(name) {
    const found = name && document.cookie.split("; ").find((part) => part.startsWith(name + "="));
    return found ? decodeURIComponent(found.slice(name.length + 1)) : "";
  }

  class LLMRecBeacon extends HTMLElement {
    connectedCallback() {
      if (this.started) return;
      this.started = true;
      this.token = cookie(this.dataset.csrfCookie);
      if (!this.token) {
        fetch(this.dataset.tokenUrl, { credentials: "same-origin", cache: "no-store" })
          .then((response) => (response.ok ? response.json() : {}))
          .then((answer) => { this.token = answer.token || ""; })
          .catch(() => {});
      }
      // One beacon a page listens for clicks, however many the page holds.
      if (!window.llmrecClicks) {
        window.llmrecClicks = true;
        const clicked = (event) => {
          if (event.type === "auxclick" && event.button !== 1) return;
          const link = event.target.closest && event.target.closest("a[data-llmrec-key]");
          if (link) this.send("clicked", link.dataset.llmrecKey);
        };
        document.addEventListener("click", clicked, true);
        document.addEventListener("auxclick", clicked, true);
      }
      if (this.dataset.key) this.waitUntilRead();
    }

    /* Counts only the time in which the page can be seen: a tab opened in the background was not read. */
    waitUntilRead() {
      let left = Number(this.dataset.seconds) * 1000;
      let since = 0;
      let timer = 0;
      const look = () => {
        if (document.visibilityState === "visible") {
          since = Date.now();
          timer = setTimeout(() => {
            document.removeEventListener("visibilitychange", look);
            this.send("viewed", this.dataset.key);
          }, Math.max(0, left));
        } else if (timer) {
          clearTimeout(timer);
          left -= Date.now() - since;
          timer = 0;
        }
      };
      document.addEventListener("visibilitychange", look);
      look();
    }

    send(verb, key) {
      if (!this.token) return;
      const body = new FormData();
      body.append("verb", verb);
      body.append("key", key);
      body.append("csrfmiddlewaretoken", this.token);
      // A beacon survives the page being left by the very click it reports.
      if (navigator.sendBeacon && navigator.sendBeacon(this.dataset.url, body)) return;
      fetch(this.dataset.url, { method: "POST", body, keepalive: true, credentials: "same-origin" }).catch(() => {});
    }
  }

  customElements.define("llmrec-list", LLMRecList);
  customElements.define("llmrec-beacon", LLMRecBeacon);
})();
