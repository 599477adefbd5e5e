// What Gradio's page does not do by itself: the address follows the run, links are copied.
(() => {
  const address = (run) => `${location.origin}${location.pathname}${run ? `?run=${run}` : ""}`;
  let last = new URLSearchParams(location.search).get("run") ?? "";

  const follow = () => {
    for (const mark of document.querySelectorAll("[data-run]")) {
      if (mark.tagName === "INPUT") mark.value = address(mark.dataset.run);
      // Hidden steps keep their content; what is shown last counts.
      if (mark.offsetParent === null && mark.tagName === "INPUT") continue;
      if (mark.closest(".hide, .hidden, [hidden]")) continue;
      if (mark.dataset.run !== last) {
        last = mark.dataset.run;
        history.replaceState(null, "", address(last));
      }
    }
  };
  new MutationObserver(follow).observe(document.documentElement, { childList: true, subtree: true });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.(".b4-copy");
    if (!button) return;
    const field = button.parentElement.querySelector("input");
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      field.select();
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy link"; }, 1500);
  });
})();
