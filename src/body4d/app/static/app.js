// The page's steps: a video is sent, somebody is chosen, the run is followed, the result is shown. The address holds the visit's token,
// so that a reload, a link and the Back button come to the same place. What is chosen lives on the server, nothing of it here.
(() => {
  const $ = (selector) => document.querySelector(selector);
  const REFRESH_MS = 500, RETRY_MS = 2000, LIVE_PERCENT = 10;
  const STEPS = ["upload", "choose", "work", "done"];
  let token = "", step = "upload", visit = 0;

  const ask = async (action, fields = {}) => {
    const answer = await fetch(`page/${action}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token, ...fields }),
      keepalive: true, // What was entered last arrives even if the page is left.
    });
    if (answer.ok) return answer.json();
    const problem = await answer.json().catch(() => ({}));
    if (answer.status === 401) location.reload();
    throw Object.assign(new Error(problem.message ?? problem.detail ?? "The server did not answer as expected."), problem, { told: true });
  };
  const sentenceOf = (error) => (error.told ? error.message : "The server cannot be reached. Is this device online?");

  // A sentence stands beside what was pressed, and is brought into view: nobody looks for it elsewhere.
  const say = (where, sentence = "", kind = "problem") => {
    const place = $(`#b4-${where}-say`);
    place.replaceChildren();
    if (!sentence) return;
    const line = document.createElement("div");
    line.className = `b4-message b4-${kind}`;
    if (kind === "problem") line.setAttribute("role", "alert");
    if (kind === "busy") line.append(Object.assign(document.createElement("span"), { className: "b4-spinner" }));
    line.append(sentence);
    place.append(line);
    if (kind === "problem") {
      const { top, bottom } = place.getBoundingClientRect();
      if (top < 0 || bottom > innerHeight) place.scrollIntoView({ block: "center" });
    }
  };

  const show = (name, { focus = true } = {}) => {
    const changed = step !== name;
    step = name;
    for (const other of STEPS) $(`#b4-${other}`).hidden = other !== name;
    if (name === "upload") b4Runs.show($("#b4-mine"));
    else $("#b4-mine").hidden = true;
    if (name !== "work") document.title = name === "done" ? "Done · body4d" : "body4d";
    if (!changed || !focus) return;
    for (const place of ["upload", "choose", "run", "work"]) say(place);
    $(`#b4-${name}-title`).focus({ preventScroll: true });
    scrollTo(0, 0);
  };

  const go = (newToken, stepName, replace = false) => {
    token = newToken;
    const address = `${location.pathname}${newToken ? `?run=${newToken}` : ""}`;
    history[replace ? "replaceState" : "pushState"]({ step: stepName }, "", address);
  };

  // Step 1

  const FOREIGN = { image: "a picture", audio: "sound", text: "text", application: "another kind of file", font: "a font" };
  const mb = (bytes) => `${Math.max(bytes / 1e6, 0.1).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
  let sending = null;

  const refusal = (file) => {
    const kind = file.type.split("/")[0], max = Number($("main").dataset.maxBytes);
    if (kind in FOREIGN && file.type !== "application/octet-stream" && !file.type.includes("mp4"))
      return `${file.name} is ${FOREIGN[kind]}, not a video. Choose an MP4 or MOV file.`;
    if (!file.size) return `${file.name} is empty: choose the video again.`;
    if (file.size > max) return `${file.name} has ${mb(file.size)}, and ${mb(max)} is the most. Save it smaller, or cut it.`;
    return "";
  };

  const send = (file) => {
    say("upload");
    sending?.abort();
    const wrong = refusal(file);
    if (wrong) return say("upload", wrong);
    const form = new FormData();
    form.append("files", file, file.name);
    const request = (sending = new XMLHttpRequest());
    const box = $("#b4-sending"), bar = box.querySelector(".b4-bar");
    const figures = (loaded) => {
      const percent = Math.min(Math.round((100 * loaded) / file.size), 100);
      bar.setAttribute("aria-valuenow", percent);
      bar.firstElementChild.style.width = `${percent}%`;
      box.querySelector(".b4-figures").textContent = `${percent} % of ${mb(file.size)}`;
    };
    const over = (sentence = "") => {
      if (sending === request) { box.hidden = true; sending = null; }
      if (sentence) say("upload", sentence);
    };
    figures(0);
    box.hidden = false;
    request.upload.onprogress = (event) => figures(event.loaded);
    request.onerror = () => over("The upload broke off. Check the connection and try again.");
    request.onabort = () => over();
    request.onload = () => {
      let answer;
      try { answer = JSON.parse(request.responseText); } catch { answer = {}; }
      if (request.status === 200) { over(); return open(() => ask("open", { path: answer[0], name: file.name })); }
      const told = answer.message ?? answer.detail ?? answer.error;
      over(typeof told === "string" && !told.startsWith("The upload exceeded") ? told : "The server did not take this file. Is it too large?");
    };
    request.open("POST", "gradio_api/upload");
    request.send(form);
  };

  const open = async (opened) => {
    say("upload", "Reading the video and finding people…", "busy");
    const mine = ++visit;
    try {
      const found = await opened();
      if (mine !== visit) return;
      go(found.token, "choose");
      await b4.choose.enter(found.token);
    } catch (error) {
      if (mine !== visit) return;
      if (token) go("", "upload", true);
      show("upload");
      say("upload", sentenceOf(error));
    }
  };

  $("#b4-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    if (file) send(file);
    event.target.value = ""; // The same file again is a change too.
  });
  const drop = $("#b4-drop");
  for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("b4-over", step === "upload");
  });
  for (const kind of ["dragleave", "drop"]) addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.remove("b4-over");
    const [file] = (kind === "drop" && step === "upload" && event.dataTransfer.files) || [];
    if (file) send(file);
  });
  $("#b4-stop-sending").addEventListener("click", () => sending?.abort());
  $("#b4-example").addEventListener("click", () => open(() => ask("example")));

  // A phone's file chooser offers its camera by itself; a desktop's does not.
  let recorder = null;
  const record = async () => {
    if (recorder) return recorder.stop();
    const button = $("#b4-record"), camera = document.createElement("video");
    Object.assign(camera, { muted: true, playsInline: true, className: "b4-camera" });
    camera.setAttribute("aria-label", "What the camera sees");
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
      const parts = [];
      recorder = new MediaRecorder(stream);
      camera.srcObject = stream;
      drop.append(camera);
      camera.play();
      recorder.ondataavailable = (event) => parts.push(event.data);
      recorder.onstop = () => {
        stream.getTracks().forEach((track) => track.stop());
        camera.remove();
        button.textContent = "Record with this camera";
        const type = recorder.mimeType.split(";")[0];
        recorder = null;
        send(new File(parts, `recording.${type.split("/")[1]}`, { type }));
      };
      recorder.start();
      button.textContent = "Stop, and take this";
    } catch {
      say("upload", "The camera cannot be used: the browser or you said no.");
    }
  };
  const canRecord = navigator.mediaDevices?.getUserMedia && window.MediaRecorder && matchMedia("(pointer: fine)").matches;
  $("#b4-record").hidden = !canRecord;
  $("#b4-record").addEventListener("click", record);

  // Step 3

  let bestShare = 0, toldAt = -1;

  const showProgress = (now) => {
    bestShare = Math.max(bestShare, now.share);
    const percent = Math.round(100 * bestShare), waiting = now.state === "waiting";
    const bar = $("#b4-progress .b4-whole-bar");
    bar.setAttribute("aria-valuenow", percent);
    bar.setAttribute("aria-valuetext", waiting ? now.sentence : `${percent} %, ${now.sentence}`);
    bar.firstElementChild.style.width = `${percent}%`;
    $("#b4-progress").dataset.state = now.state;
    $(".b4-percent").textContent = waiting ? "" : `${percent} %`;
    $(".b4-sentence").textContent = now.sentence;
    $(".b4-step-now").textContent = now.step ?? "";
    document.title = waiting ? "Waiting · body4d" : `${percent} % · body4d`;
    const rows = now.steps.map((one) => {
      const row = document.createElement("li");
      row.className = `b4-${one.state}`;
      row.dataset.stage = one.stage;
      const sign = Object.assign(document.createElement("span"), { className: one.state === "now" ? "b4-spinner" : "b4-sign" });
      row.append(sign, Object.assign(document.createElement("span"), { textContent: one.title }),
        Object.assign(document.createElement("span"), { className: "b4-figures", textContent: one.figures }));
      return row;
    });
    $("#b4-progress ol").replaceChildren(...rows);
    // A screen reader hears of each tenth, not of each half second.
    const tenth = waiting ? -2 : Math.floor(percent / LIVE_PERCENT);
    if (tenth !== toldAt) {
      toldAt = tenth;
      $("#b4-live").textContent = waiting ? now.sentence : `${percent} %. ${now.sentence}. ${now.step ?? ""}`;
    }
  };

  const follow = async () => {
    const mine = ++visit;
    [bestShare, toldAt] = [0, -1];
    const asksLeave = "Notification" in window && Notification.permission === "default";
    $("#b4-notify").hidden = !asksLeave;
    for (let lost = false; mine === visit; ) {
      let now;
      try {
        now = await ask("progress");
      } catch (error) {
        if (mine !== visit) return;
        if (error.told && error.code === "session_gone") return lostVisit(error);
        if (step !== "work") show("work");
        if (!lost) say("work", "The server is not there at the moment. What was done is kept; this page goes on by itself.", "busy");
        lost = true;
        await new Promise((wake) => setTimeout(wake, RETRY_MS));
        continue;
      }
      if (mine !== visit) return;
      if (lost) { say("work"); lost = false; }
      if (now.state === "waiting" || now.state === "working") {
        if (step !== "work") show("work");
        showProgress(now);
        await new Promise((wake) => setTimeout(wake, REFRESH_MS));
        continue;
      }
      if (now.state === "done") { tell(now.name); return showResult(); }
      go(token, "choose", true);
      try {
        await b4.choose.enter(token);
        if (now.message) say("run", now.message, now.state === "refused" ? "problem" : "good");
      } catch (error) { lostVisit(error); }
      return;
    }
  };

  const tell = (name) => {
    if (step !== "work" || !document.hidden || !("Notification" in window) || Notification.permission !== "granted") return;
    try { new Notification("body4d", { body: `${name ?? "Your video"} is in 3D now.`, icon: "body4d-static/icon.svg" }); }
    catch { /* Some phones allow notices to service workers only. */ }
  };
  $("#b4-notify").addEventListener("click", async () => {
    const allowed = (await Notification.requestPermission()) === "granted";
    $("#b4-notify").hidden = true;
    say("work", allowed ? "You will be told, as long as this page stays open." : "The browser does not allow notices.", "good");
  });

  const run = async () => {
    const button = $("#b4-run");
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    say("run");
    try {
      await b4.choose.settled();
      const started = await ask("run");
      go(started.token, "run");
      b4Runs.remember(started.token, {}); // Its name comes with the list.
      await follow();
    } catch (error) {
      say("run", sentenceOf(error));
      b4.choose.point(error.field);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  };
  $("#b4-run").addEventListener("click", run);
  $("#b4-cancel").addEventListener("click", async () => {
    say("work", "Stopping…", "busy");
    try { await ask("cancel"); } catch (error) { say("work", sentenceOf(error)); }
  });

  // Step 4

  // The result is a page of its own, the player's, which fetches what it shows.
  const showResult = () => {
    const place = $("#b4-result");
    if (place.dataset.token !== token || !place.firstChild) {
      const frame = document.createElement("iframe");
      Object.assign(frame, { id: "b4-player", title: "Your result: video, 3D, curves, downloads", allow: "fullscreen; web-share; clipboard-write", scrolling: "no" });
      frame.src = `player/index.html?run=${token}`; // Relative, so that a proxy may serve us anywhere.
      place.replaceChildren(frame);
      place.dataset.token = token;
    }
    show("done");
  };
  const forgetResult = () => { $("#b4-result").replaceChildren(); delete $("#b4-result").dataset.token; };

  const startOver = () => { visit++; forgetResult(); go("", "upload"); show("upload"); };
  $("#b4-other").addEventListener("click", startOver);
  $("#b4-fresh").addEventListener("click", startOver);
  $("#b4-again").addEventListener("click", () => { go(token, "choose"); route(); });
  $("#b4-to-result").addEventListener("click", () => { go(token, "run"); route(); });

  const lostVisit = (error) => {
    visit++;
    go("", "upload", true);
    show("upload");
    say("upload", sentenceOf(error));
  };

  // Where the address and the Back button lead.
  const route = async (event) => {
    const mine = ++visit, goesBack = event?.type === "popstate";
    token = new URLSearchParams(location.search).get("run") ?? "";
    if (!token) return show("upload");
    try {
      // A reload comes to a run that somebody has started meanwhile; the Back button leads from a run to its choice.
      if (history.state?.step === "choose" && (goesBack || !["waiting", "working"].includes((await ask("progress")).state)))
        return await b4.choose.enter(token);
      say("upload", "Looking…", "busy");
      await follow();
      if (history.state === null) history.replaceState({ step: step === "choose" ? "choose" : "run" }, "", location.href);
    } catch (error) {
      if (mine === visit || step === "upload") lostVisit(error);
    }
  };
  addEventListener("popstate", route);

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const followDark = () => document.documentElement.classList.toggle("dark", dark.matches);
  dark.addEventListener("change", followDark);
  followDark();

  window.b4 = { ask, say, show, sentenceOf, $ };
  addEventListener("DOMContentLoaded", route);
})();
