// Two small comforts; every page works without them.
document.addEventListener("click", function (event) {
  const button = event.target.closest("[data-show]");
  if (!button) return;
  const field = document.getElementById(button.dataset.show);
  const showing = field.type === "password";
  field.type = showing ? "text" : "password";
  const word = button.textContent;
  button.textContent = button.dataset.hideWord;
  button.dataset.hideWord = word;
});

document.querySelectorAll("[data-show]").forEach(function (button) {
  button.hidden = false;
});

// A refresh that comes by itself must not close a table that somebody reads, nor take the focus away.
document.addEventListener("htmx:beforeSwap", function (event) {
  const target = event.detail.target;
  if (!target.classList.contains("p-live")) return;
  if (target.querySelector("details[open]") || target.contains(document.activeElement)) {
    event.detail.shouldSwap = false;
  }
});

// A field with suggestions (ARIA combobox). The server makes the list; without a script the field is a plain one.
document.querySelectorAll("[data-combo]").forEach(function (combo) {
  const field = combo.querySelector("input");
  const list = combo.querySelector("[role=listbox]");
  let at = -1;

  function options() {
    return Array.from(list.querySelectorAll("[role=option]"));
  }

  function show(open) {
    list.hidden = !open || !options().length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    move(-1);
  }

  function move(to) {
    const all = options();
    at = all.length ? (to + all.length + (to < -1 ? 1 : 0)) % all.length : -1;
    if (to === -1) at = -1;
    all.forEach(function (option, place) {
      option.setAttribute("aria-selected", String(place === at));
    });
    if (at >= 0) {
      field.setAttribute("aria-activedescendant", all[at].id);
      all[at].scrollIntoView({ block: "nearest" });
    } else {
      field.removeAttribute("aria-activedescendant");
    }
  }

  function choose(option) {
    field.value = option.dataset.value;
    show(false);
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  field.setAttribute("role", "combobox");
  field.setAttribute("aria-autocomplete", "list");
  field.setAttribute("aria-controls", list.id);
  show(false);
  list.addEventListener("htmx:afterSwap", function () {
    show(document.activeElement === field);
  });
  field.addEventListener("keydown", function (event) {
    if (list.hidden) return;
    const all = options();
    if (event.key === "ArrowDown") move(at + 1);
    else if (event.key === "ArrowUp") move(at <= 0 ? all.length - 1 : at - 1);
    else if (event.key === "Enter" && at >= 0) choose(all[at]);
    else if (event.key === "Escape") show(false);
    else return;
    event.preventDefault();
  });
  field.addEventListener("blur", function () {
    show(false);
  });
  list.addEventListener("mousedown", function (event) {
    const option = event.target.closest("[role=option]");
    if (option) choose(option);
    event.preventDefault();
  });
});
