"""Settings of a server: the app's limits, and the HuggingFace Space in which it runs."""

from pydantic import Field

from body4d.config.section import Section


class AppSettings(Section):
    """The browser application: what visitors may ask for, and how long it keeps their work. The page shows the limits before the upload."""

    folder: str | None = Field(
        default=None,
        description="Folder in which visitors' work is kept. If unset, /data/body4d where /data can be written, else a folder body4d in "
        "the temporary folder.",
    )
    max_megabytes: float = Field(
        default=200.0,
        gt=0,
        description="Largest file that is accepted; a minute of 1080p by a phone has 130 MB. With a higher value uploads may fill more of "
        "the disk.",
    )
    max_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Longest clip that is accepted. With a higher value one visitor's run may keep the others waiting for longer.",
    )
    max_frames: int = Field(
        default=3600,
        ge=1,
        description="Largest number of frames that is accepted; a minute at 60 frames/s has 3600. The time of a run grows with it.",
    )
    max_megapixels: float = Field(
        default=9.0,
        gt=0,
        description="Largest frame that is accepted; 4K has 8.3 megapixels. The memory and the time of a run grow with it.",
    )
    max_people: int = Field(
        default=4,
        ge=1,
        description="Largest number of people who are followed in one run. The time of a run grows with it.",
    )
    max_waiting: int = Field(
        default=20,
        ge=1,
        description="Largest number of runs that wait; further ones are refused. With a higher value the last one waits for longer.",
    )
    keep_hours: float = Field(
        default=24.0,
        gt=0,
        description="Time after which a visitor's work is deleted, counted from when it was last opened. With a higher value links work "
        "for longer, and more of the disk is taken.",
    )
    keep_gigabytes: float = Field(
        default=20.0,
        gt=0,
        description="Largest size of all work and uploads together. Beyond it, what has not been opened for longest is deleted first, and "
        "uploads are refused where that is not enough.",
    )
    max_uploads_per_hour: int = Field(
        default=60,
        ge=1,
        description="Largest number of clips that one visitor (one address) may upload in an hour. Raise it where many visitors share an "
        "address, as behind one company's router.",
    )
    max_upload_gigabytes_per_hour: float = Field(
        default=4.0,
        gt=0,
        description="Largest size of all clips that one visitor (one address) may upload in an hour.",
    )


class SpaceSettings(Section):
    """The HuggingFace Space that `body4d space` makes, and how long its commands wait for it."""

    hardware: str = Field(
        default="l40sx1",
        description="The hardware that the Space asks for. An L40S has 48 GB, three times what preset sam needs for full speed; larger "
        "hardware costs more.",
    )
    sleep_s: int = Field(
        default=900,
        ge=-1,
        description="Seconds without a visitor after which paid hardware is put to sleep; -1 keeps it awake. With a higher value fewer "
        "visitors wait for a start, and it costs more.",
    )
    max_wait_s: float = Field(
        default=3600.0,
        gt=0,
        description="Longest time that a command waits until the Space runs. A first image downloads gigabytes; raise it where the network "
        "is slow.",
    )
