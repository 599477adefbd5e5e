// What Gradio's page does not do by itself: the address follows the run.
(() => {
  const address = (run) => `${location.origin}${location.pathname}${run ? `?run=${run}` : ""}`;
  let last = new URLSearchParams(location.search).get("run") ?? "";

  const follow = () => {
    for (const element of document.querySelectorAll("[data-run]")) {
      // Hidden steps keep their content; what is shown last counts.
      if (element.closest(".hide, .hidden, [hidden]")) continue;
      if (element.dataset.run !== last) {
        last = element.dataset.run;
        history.replaceState(null, "", address(last));
      }
    }
  };
  new MutationObserver(follow).observe(document.documentElement, { childList: true, subtree: true });

  // A file that is too large is refused before it travels; the server refuses it too, but Gradio's page then only says "Error".
  const refuse = (event, files) => {
    if (!event.target.closest?.("#b4-video") || !files?.length) return;
    const max = Number(document.querySelector("[data-max-bytes]")?.dataset.maxBytes ?? Infinity);
    const file = files[0];
    const shown = document.getElementById("b4-large");
    if (shown) shown.remove();
    if (file.size <= max) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (event.target.tagName === "INPUT") event.target.value = "";
    const line = document.createElement("div");
    line.id = "b4-large";
    line.className = "b4-message b4-problem";
    line.setAttribute("role", "alert");
    const mb = (bytes) => `${Math.round(bytes / 1e6)} MB`;
    line.textContent = `This file has ${mb(file.size)}, and ${mb(max)} is the most; cut the clip, or save it smaller.`;
    document.getElementById("b4-video").before(line);
  };
  document.addEventListener("change", (event) => refuse(event, event.target.files), true);
  document.addEventListener("drop", (event) => refuse(event, event.dataTransfer?.files), true);
})();
