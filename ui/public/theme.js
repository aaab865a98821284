// Before the first paint, and in a file of its own because the page's policy allows no inline script.
(function () {
  let theme = null;
  try {
    theme = localStorage.getItem("llm-router.theme");
  } catch {
    // Storage may be forbidden; the system's theme is used then.
  }
  if (theme !== "light" && theme !== "dark") {
    theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  }
  document.documentElement.dataset.theme = theme;
})();
