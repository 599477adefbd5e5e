"""The page: what is where. What happens is in ``body4d.app.handlers``."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from body4d.app import html
from body4d.app.forms import PEOPLE_CHOICES, SEX_CHOICES, limits_sentence
from body4d.app.preview import Preview
from body4d.app.service import AppService

CHOOSE, EXCLUDE, BOX = MODES = ("Choose", "Not this", "Box")
"""What a click on the picture does."""
ANYBODY = "Whoever is clicked"


@dataclass(frozen=True)
class PageState:
    """What a visitor's page holds: which session it shows, and the preview that was painted last. It lives in Gradio's session."""

    token: str = ""
    preview: Preview | None = None


_PICTURE_TEMPLATE = (
    '<div class="b4-picker"><img src="${value || \'data:,\'}" alt="A frame with the people found" draggable="false"><i></i></div>'
)

_PICTURE_SCRIPT = """
let from = null;
const image = () => element.querySelector('img');
const position = (event) => {
  const r = image().getBoundingClientRect();
  const clip = (v) => Math.min(Math.max(v, 0), 0.9999);
  return [clip((event.clientX - r.left) / r.width), clip((event.clientY - r.top) / r.height)];
};
const boxing = () => document.querySelector('#b4-mode input:checked')?.value === 'Box';
const show = (a, b) => {
  const marker = element.querySelector('.b4-picker i');
  const x = Math.min(a[0], b[0]), y = Math.min(a[1], b[1]);
  marker.style.cssText = `left:${100 * x}%;top:${100 * y}%;width:${100 * Math.abs(a[0] - b[0])}%;height:${100 * Math.abs(a[1] - b[1])}%;`
    + `display:block;${boxing() ? '' : 'width:0;height:0;'}`;
  marker.className = boxing() ? 'b4-box' : 'b4-dot';
};
element.addEventListener('pointerdown', (event) => {
  if (event.target !== image()) return;
  from = position(event);
  if (boxing()) { event.preventDefault(); image().setPointerCapture(event.pointerId); }
});
element.addEventListener('touchmove', (event) => { if (boxing() && from) event.preventDefault(); }, { passive: false });
element.addEventListener('pointermove', (event) => { if (from && boxing()) show(from, position(event)); });
element.addEventListener('pointercancel', () => { from = null; });
element.addEventListener('pointerup', (event) => {
  if (!from) return;
  const a = from, b = position(event);
  from = null;
  if (boxing()) {
    if (Math.abs(a[0] - b[0]) > 0.01 && Math.abs(a[1] - b[1]) > 0.01) trigger('select', { position: [...a, ...b] });
  } else if (Math.hypot(a[0] - b[0], a[1] - b[1]) < 0.03) { show(b, b); trigger('select', { position: b }); }
});
"""


@dataclass(frozen=True)
class AppPage:
    """The components that handlers read and change."""

    state: gr.State
    message: gr.HTML
    upload_box: gr.Column
    video: gr.Video
    example: gr.Button
    choose_box: gr.Column
    clip: gr.HTML
    picture: gr.HTML
    mode: gr.Radio
    person: gr.Dropdown
    frame: gr.Slider
    text: gr.Textbox
    undo: gr.Button
    clear: gr.Button
    run: gr.Button
    other: gr.Button
    work_box: gr.Column
    progress: gr.HTML
    cancel: gr.Button
    done_box: gr.Column
    result: gr.HTML
    again: gr.Button
    fresh: gr.Button
    options: tuple[Any, ...]


def build_page(service: AppService) -> AppPage:
    """Build the page inside an open ``gr.Blocks``."""
    state = gr.State(PageState())
    gr.HTML(
        '<header class="b4-header"><h1>body4d</h1><p>Upload a video of somebody moving, and see them in 3D.</p></header>'
        + html.preset_line(service.preset, service.preset_reason)
    )
    message = gr.HTML("", elem_id="b4-message")
    with gr.Column(elem_id="b4-upload", elem_classes="b4-card") as upload_box:
        gr.HTML(
            f'<h2><span>1</span>Your video</h2><p class="b4-limits" data-max-bytes="{service.settings.app.max_megabytes * 1e6:.0f}">'
            f"{limits_sentence(service.settings.app)}</p>"
        )
        video = gr.Video(sources=["upload", "webcam"], show_label=False, container=False, height=260, elem_id="b4-video")
        example = gr.Button("Try the example: a golf swing", elem_id="b4-example", variant="secondary")
    with gr.Column(visible=False, elem_id="b4-choose", elem_classes="b4-card") as choose_box:
        gr.HTML('<h2><span>2</span>Who is it about?</h2><p class="b4-limits">Click on a person to choose them, on another one to add '
                "them. Without a click, the main person is followed.</p>")  # fmt: skip
        clip = gr.HTML("")
        picture = gr.HTML("", html_template=_PICTURE_TEMPLATE, js_on_load=_PICTURE_SCRIPT, elem_id="b4-picker")
        frame = gr.Slider(0, 1, value=0, step=1, label="Frame", elem_id="b4-frame", buttons=[])
        with gr.Row(elem_classes="b4-tools"):
            mode = gr.Radio(list(MODES), value=CHOOSE, show_label=False, container=False, elem_id="b4-mode")
            person = gr.Dropdown(
                [ANYBODY], value=ANYBODY, show_label=False, container=False, visible=False, elem_id="b4-person", min_width=130
            )
            undo = gr.Button("Undo", size="sm", elem_id="b4-undo", min_width=70)
            clear = gr.Button("Clear", size="sm", elem_id="b4-clear", min_width=70)
        text = gr.Textbox(
            "",
            label="Or in words",
            placeholder="the golfer in the white shirt",
            visible=service.preset == "sam",
            elem_id="b4-text",
            max_length=200,
        )
        options = _option_inputs()
        run = gr.Button("Make it 3D", variant="primary", size="lg", elem_id="b4-run")
        other = gr.Button("Take another video", variant="secondary", size="sm", elem_id="b4-other", elem_classes="b4-quiet")
    with gr.Column(visible=False, elem_id="b4-work", elem_classes="b4-card") as work_box:
        gr.HTML("<h2><span>3</span>Working</h2><p class='b4-limits'>You may close this page and come back by its address.</p>")
        progress = gr.HTML("", elem_id="b4-progress")
        cancel = gr.Button("Cancel", variant="stop", elem_id="b4-cancel")
    with gr.Column(visible=False, elem_id="b4-done", elem_classes="b4-card") as done_box:
        gr.HTML("<h2><span>✓</span>Done</h2>")
        result = gr.HTML("", elem_id="b4-result")
        with gr.Row():
            again = gr.Button("Choose again in this video", elem_id="b4-again", variant="secondary")
            fresh = gr.Button("Another video", elem_id="b4-fresh", variant="secondary")
    return AppPage(
        state, message, upload_box, video, example, choose_box, clip, picture, mode, person, frame, text, undo, clear, run, other,
        work_box, progress, cancel, done_box, result, again, fresh, options,
    )  # fmt: skip


def _option_inputs() -> tuple[Any, ...]:
    """The inputs of the settings, in the order of ``body4d.app.forms.RunOptions``."""
    with gr.Accordion("Settings", open=False, elem_id="b4-settings"):
        people = gr.Radio(list(PEOPLE_CHOICES.items()), value="main", label="Follow, where nobody is chosen")
        with gr.Row():
            start = gr.Number(None, label="From second", minimum=0, placeholder="the beginning", min_width=130)
            end = gr.Number(None, label="To second", minimum=0, placeholder="the end", min_width=130)
            fps = gr.Number(None, label="Frames a second, at most", minimum=0, placeholder="all", min_width=130)
        with gr.Row():
            fov = gr.Number(None, label="Field of view, degrees", minimum=0, placeholder="found, or a phone's", min_width=130)
            height = gr.Number(None, label="Height of the person, metres", minimum=0, placeholder="estimated", min_width=130)
            moving = gr.Checkbox(False, label="The camera moves", min_width=130)
        with gr.Row():
            sex = gr.Radio(list(SEX_CHOICES.items()), value="auto", label="Body of the person", min_width=200)
            age = gr.Number(None, label="Age of the person, years", minimum=0, placeholder="an adult", min_width=130)
    return people, start, end, fps, fov, height, moving, sex, age
