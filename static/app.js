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
