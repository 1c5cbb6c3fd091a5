// The report's own script: the tree of device state, and what the picture shows under the pointer.
// Nothing that comes from the file is ever taken for markup: it is set as text only.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const make = (name, className, text) => {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  };

  // ---- the tree: a node is [label, kind, value, children?] ----

  const CHUNK = 200; // lines that are added at once
  const LIMIT = 500; // matches that are shown
  const tree = $("tree");
  const box = $("search");
  const count = $("matches");
  const place = $("place");
  const roots = JSON.parse($("device-data").textContent);
  let words = []; // what is looked for
  let kept = null; // while something is: nodes that are shown
  let hits = new Set();
  let flat = null; // all nodes, with the place of what they are part of, for the search

  const flatten = () => {
    const nodes = [], parents = [], texts = [];
    const stack = [];
    for (let i = roots.length - 1; i >= 0; i--) stack.push([roots[i], -1]);
    while (stack.length) {
      const [node, parent] = stack.pop();
      const at = nodes.length;
      nodes.push(node);
      parents.push(parent);
      texts.push((node[0] + "\n" + node[2] + "\n" + node[1]).toLowerCase());
      const children = node[3] || [];
      for (let i = children.length - 1; i >= 0; i--) stack.push([children[i], at]);
    }
    return { nodes, parents, texts };
  };

  const search = () => {
    words = box.value.toLowerCase().split(/\s+/).filter(Boolean).slice(0, 16);
    hits = new Set();
    kept = null;
    if (words.length) {
      flat = flat || flatten();
      kept = new Set();
      const { nodes, parents, texts } = flat;
      const all = (1 << words.length) - 1;
      const masks = new Uint32Array(nodes.length);
      let found = 0;
      for (let i = 0; i < nodes.length; i++) {
        let own = 0;
        for (let w = 0; w < words.length; w++) if (texts[i].includes(words[w])) own |= 1 << w;
        // A word may stand in what a value is part of: "cpu eip".
        masks[i] = own | (parents[i] < 0 ? 0 : masks[parents[i]]);
        if (own === 0 || masks[i] !== all) continue;
        found++;
        if (found > LIMIT) continue;
        hits.add(nodes[i]);
        for (let at = i; at >= 0 && !kept.has(nodes[at]); at = parents[at]) kept.add(nodes[at]);
      }
      count.textContent =
        found === 0 ? "nothing found" :
        found === 1 ? "1 match" :
        found > LIMIT ? `${found.toLocaleString("en")} matches, the first ${LIMIT} are shown` :
        `${found} matches`;
    } else {
      count.textContent = "";
    }
    tree.replaceChildren();
    fill(tree, null, roots, 1);
    const first = tree.querySelector('[role="treeitem"]');
    if (first) first.tabIndex = 0;
    place.textContent = "";
  };

  const childrenOf = (node) => {
    const children = node[3] || [];
    if (!kept) return children;
    const some = children.filter((child) => kept.has(child));
    return some.length ? some : children;
  };

  const text = (className, content) => {
    const span = make("span", className);
    if (!words.length) {
      span.textContent = content;
      return span;
    }
    const lower = content.toLowerCase();
    // Letters whose small form is longer would shift what is marked.
    const places = lower.length === content.length ? words : [];
    let at = 0;
    while (at < content.length) {
      let next = -1, length = 0;
      for (const word of places) {
        const found = lower.indexOf(word, at);
        if (found >= 0 && (next < 0 || found < next)) [next, length] = [found, word.length];
      }
      if (next < 0) break;
      span.append(content.slice(at, next), make("mark", "", content.slice(next, next + length)));
      at = next + length;
    }
    span.append(content.slice(at));
    return span;
  };

  const item = (node, level) => {
    const li = make("li");
    li.setAttribute("role", "treeitem");
    li.setAttribute("aria-level", level);
    li.tabIndex = -1;
    li.node = node;
    const row = make("div", hits.has(node) ? "row hit" : "row");
    row.append(make("span", "twist"), text("label", node[0]), text("value", node[2]), text("kind", node[1]));
    li.append(row);
    if (node[3]) {
      li.setAttribute("aria-expanded", "false");
      if (kept && node[3].some((child) => kept.has(child))) expand(li);
    }
    return li;
  };

  const fill = (list, node, children, level, from = 0) => {
    const shown = kept && node === null ? children.filter((child) => kept.has(child)) : children;
    const chunk = kept ? LIMIT : CHUNK;
    const end = Math.min(from + chunk, shown.length);
    for (let i = from; i < end; i++) list.append(item(shown[i], level));
    if (end < shown.length) {
      more(list, `Show ${Math.min(chunk, shown.length - end)} more of ${shown.length - end}`, () =>
        fill(list, node, shown, level, end));
    } else if (kept && node && shown.length < node[3].length) {
      more(list, `Show all ${node[3].length}`, () => {
        const [was, words_] = [kept, words];
        list.replaceChildren();
        [kept, words] = [null, []];
        fill(list, node, node[3], level);
        [kept, words] = [was, words_];
      });
    }
  };

  const more = (list, label, then) => {
    const li = make("li", "more");
    li.setAttribute("role", "none");
    const button = make("button", "", label);
    button.type = "button";
    button.addEventListener("click", () => {
      const before = li.previousElementSibling;
      li.remove();
      then();
      focus((before && before.isConnected && before.nextElementSibling) || list.firstElementChild);
    });
    li.append(button);
    list.append(li);
  };

  const expand = (li) => {
    if (li.getAttribute("aria-expanded") !== "false") return;
    li.setAttribute("aria-expanded", "true");
    const group = make("ul");
    group.setAttribute("role", "group");
    fill(group, li.node, childrenOf(li.node), Number(li.getAttribute("aria-level")) + 1);
    li.append(group);
  };

  const collapse = (li) => {
    if (li.getAttribute("aria-expanded") !== "true") return;
    li.setAttribute("aria-expanded", "false");
    li.lastElementChild.remove();
  };

  const toggle = (li) => (li.getAttribute("aria-expanded") === "true" ? collapse(li) : expand(li));

  const focus = (element) => {
    const li = element && (element.matches('[role="treeitem"]') ? element : element.querySelector("button"));
    if (!li) return;
    for (const other of tree.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    li.tabIndex = 0;
    li.focus();
  };

  const parentOf = (li) => li.parentElement.closest('[role="treeitem"]');

  tree.addEventListener("focusin", (event) => {
    const path = [];
    for (let li = event.target.closest('[role="treeitem"]'); li; li = parentOf(li)) path.unshift(li.node[0]);
    place.textContent = path.join(" › ");
  });

  tree.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    // Whoever marks a value to copy it wants nothing folded.
    if (!row || String(getSelection())) return;
    focus(row.parentElement);
    toggle(row.parentElement);
  });

  tree.addEventListener("keydown", (event) => {
    const li = event.target.closest('[role="treeitem"]');
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const lines = () => [...tree.querySelectorAll('[role="treeitem"], .more > button')];
    const step = (by) => {
      const all = lines();
      const target = all[all.indexOf(event.target.closest('[role="treeitem"], button')) + by];
      if (target) focus(target.matches("button") ? target.parentElement : target);
    };
    const keys = {
      ArrowDown: () => step(1),
      ArrowUp: () => step(-1),
      Home: () => focus(tree.firstElementChild),
      End: () => {
        const last = lines().pop();
        focus(last.matches("button") ? last.parentElement : last);
      },
      ArrowRight: () => li && (li.getAttribute("aria-expanded") === "true" ? step(1) : expand(li)),
      ArrowLeft: () => li && (li.getAttribute("aria-expanded") === "true" ? collapse(li) : focus(parentOf(li))),
      Enter: () => li && toggle(li),
      " ": () => li && toggle(li),
    };
    if (!keys[event.key] || (event.target.matches("button") && /^(Enter| )$/.test(event.key))) return;
    event.preventDefault();
    keys[event.key]();
  });

  let timer = 0;
  box.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, 60);
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      clearTimeout(timer);
      if (event.key === "Enter") search();
      const hit = tree.querySelector(".hit");
      focus(hit ? hit.parentElement : tree.firstElementChild);
    } else if (event.key === "Escape" && box.value) {
      event.preventDefault();
      box.value = "";
      search();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof Element && event.target.matches("input, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    box.focus();
    box.select();
  });
  $("fold").addEventListener("click", () => {
    box.value = "";
    search();
    box.focus();
  });
  $("finder").hidden = false;
  search();

  // ---- the picture ----

  for (const tick of document.querySelectorAll("[data-top]")) tick.style.top = `${tick.dataset.top}%`;

  const hex = (number) => "0x" + number.toString(16);
  for (const image of document.querySelectorAll("img[data-start]")) {
    const out = image.closest("figure").querySelector("output");
    const data = image.dataset;
    image.addEventListener("pointermove", (event) => {
      const box = image.getBoundingClientRect();
      const at = (of, size, pixels) => Math.min(Math.max(Math.floor((of / size) * pixels), 0), pixels - 1);
      const column = Math.floor(at(event.clientX - box.left, box.width, image.naturalWidth) / data.side);
      const row = Math.floor(at(event.clientY - box.top, box.height, image.naturalHeight) / data.side);
      const cell = BigInt(row) * BigInt(data.columns) + BigInt(column);
      const from = cell * BigInt(data.cell);
      if (from >= BigInt(data.length)) {
        out.textContent = "";
        return;
      }
      const last = from + BigInt(data.cell);
      const [begin, end] = [from, last].map((offset) => hex(BigInt(data.start) + offset));
      out.textContent = `${begin} to ${end}`;
    });
    image.addEventListener("pointerleave", () => (out.textContent = ""));
  }
})();
