"use strict";
// Every two seconds the page is fetched again and its main part replaced; what is open or has the focus stays.
(function () {
  var main = document.querySelector("main");
  var away = document.getElementById("away");
  function refresh() {
    if (document.hidden) { return; }
    fetch("/", { cache: "no-store" }).then(function (answer) {
      if (!answer.ok) { throw new Error(String(answer.status)); }
      return answer.text();
    }).then(function (text) {
      var fresh = new DOMParser().parseFromString(text, "text/html");
      away.hidden = true;
      main.classList.remove("stale");
      document.title = fresh.title;
      update(main, fresh.querySelector("main"));
    }).catch(function () {
      away.hidden = false;
      main.classList.add("stale");
    });
  }
  // Same shape: change texts and attributes only, so that a screen reader, a selection and a scroll place survive.
  function update(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) { old.replaceWith(fresh); return; }
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== fresh.data) { old.data = fresh.data; }
      return;
    }
    Array.from(fresh.attributes).forEach(function (one) {
      if (old.getAttribute(one.name) !== one.value) { old.setAttribute(one.name, one.value); }
    });
    var before = Array.from(old.childNodes);
    var after = Array.from(fresh.childNodes);
    after.forEach(function (node, at) {
      if (at < before.length) { update(before[at], node); } else { old.appendChild(node); }
    });
    before.slice(after.length).forEach(function (node) { node.remove(); });
  }
  setInterval(refresh, 2000);
  document.addEventListener("visibilitychange", refresh);
})();
