"""Make the picture of the card that chats show for a link to the app, from a finished run of the example.

python scripts/app_card.py RUN_FOLDER src/body4d/app/static/card.jpg.base64
"""

import sys
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from textwrap import wrap

import av
from PIL import Image, ImageDraw, ImageFont

SIZE_PX = (1200, 630)
MOMENT = 0.42
"""Share of the clip: near the top of the swing, where a body is told from a stick figure."""

PANE_HEIGHT_PX, PANE_WIDTH_PX, GAP_PX = 550, 350, 16
BACKGROUND, INK, PALE = (15, 23, 42), (248, 250, 252), (148, 163, 184)


def frame(path: Path, share: float) -> Image.Image:
    """The picture of a video at a share of its length."""
    with av.open(str(path)) as container:
        pictures = list(container.decode(video=0))
    return pictures[round(share * (len(pictures) - 1))].to_image()


def pane(picture: Image.Image, centre: float) -> Image.Image:
    """A part of a picture as high as the card's panes, around a share of its width."""
    scaled = picture.resize((round(picture.width * PANE_HEIGHT_PX / picture.height), PANE_HEIGHT_PX), Image.Resampling.LANCZOS)
    left = min(max(round(centre * scaled.width - PANE_WIDTH_PX / 2), 0), scaled.width - PANE_WIDTH_PX)
    return scaled.crop((left, 0, left + PANE_WIDTH_PX, PANE_HEIGHT_PX))


def main(run: Path, out: Path) -> None:
    card = Image.new("RGB", SIZE_PX, BACKGROUND)
    views = frame(run / "views.mp4", MOMENT)
    side = views.crop((views.width // 3, 90, 2 * views.width // 3, views.height - 20))
    top = (SIZE_PX[1] - PANE_HEIGHT_PX) // 2
    right = SIZE_PX[0] - top - PANE_WIDTH_PX
    card.paste(pane(frame(run / "overlay.mp4", MOMENT), 0.45), (right - GAP_PX - PANE_WIDTH_PX, top))
    card.paste(pane(side, 0.5), (right, top))
    draw = ImageDraw.Draw(card)
    font = "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf"
    draw.text((56, 200), "body4d", INK, ImageFont.truetype(font, 76))
    draw.text((60, 310), "Your movement\nin 3D, from\none video", PALE, ImageFont.truetype(font, 40), spacing=12)
    picture = BytesIO()
    card.save(picture, "JPEG", quality=82, optimize=True)
    out.write_text("\n".join(wrap(b64encode(picture.getvalue()).decode(), 120)) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
