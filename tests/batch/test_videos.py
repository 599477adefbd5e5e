"""Which videos are found, which folders they get, and what is special to some of them."""

from pathlib import Path

import pytest

from body4d.batch.videos import choose_folders, find_videos, parse_shard, plan_jobs, read_rows, read_settings_rows
from body4d.config import Settings
from body4d.core.errors import InputError, SettingsError
from body4d.run.record import RUN


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def names(source: object, out: Path) -> list[str]:
    found = find_videos(source, out)  # type: ignore[arg-type]
    return [found.name(video) for video in found.videos]


def test_a_folder_gives_its_videos_and_no_result_of_ours(tmp_path: Path) -> None:
    made(tmp_path, "b.MOV", "a.mp4", "sub/c.mkv", "notes.txt", ".hidden.mp4", ".trash/x.mp4", "out/a/overlay.mp4")
    made(tmp_path, f"older/{RUN}", "older/overlay.mp4")
    assert names(tmp_path, tmp_path / "out") == ["a.mp4", "b.MOV", "sub/c.mkv"]


def test_globs_lists_and_paths(tmp_path: Path) -> None:
    made(tmp_path, "x/a.mp4", "x/deep/b.mp4", "y/c.mp4")
    out = tmp_path / "out"
    assert names(f"{tmp_path}/x/**/*.mp4", out) == ["a.mp4", "deep/b.mp4"]
    assert names(f"{tmp_path}/x/**/b.mp4", out) == ["deep/b.mp4"]  # whatever else matches
    (tmp_path / "list.txt").write_text("# mine\ny/c.mp4\n\nx/a.mp4\ny/c.mp4\n")
    assert names(tmp_path / "list.txt", out) == ["y/c.mp4", "x/a.mp4"]
    assert names([tmp_path / "x/a.mp4", str(tmp_path / "x/deep/b.mp4")], out) == ["a.mp4", "deep/b.mp4"]
    assert names(tmp_path / "x/a.mp4", out) == ["a.mp4"]


@pytest.mark.parametrize(("source", "code"), [("empty", "no_videos"), ("none.txt", "list_unreadable"), ("*.mp4", "no_videos")])
def test_what_holds_no_video_is_refused(tmp_path: Path, source: str, code: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError) as error:
        find_videos(tmp_path / source, tmp_path / "out")
    assert error.value.code == code


@pytest.mark.parametrize(
    ("videos", "folders"),
    [
        (["a.mp4", "sub/a.mp4"], ["a", "sub/a"]),
        (["a.mov", "a.mp4"], ["a.mov", "a.mp4"]),
        (["a.mp4", "A.mov"], ["a.mp4", "A.mov"]),  # One folder on disks that do not tell them apart
        (["x.mp4", "x/y.mp4"], ["x.mp4", "x/y"]),  # A run folder holds no other
        (["a.mp4", "a.mov", "a.mp4.avi"], ["a.mp4-2", "a.mov", "a.mp4"]),
    ],
)
def test_names_that_collide_get_folders_of_their_own(videos: list[str], folders: list[str]) -> None:
    assert choose_folders(videos, Path("/out"), lambda folder: "") == [Path("/out") / folder for folder in folders]


def test_a_video_keeps_the_folder_it_has_when_another_of_its_name_comes() -> None:
    chosen = choose_folders(["a.mov", "a.mp4"], Path("/out"), lambda folder: "a.mp4" if folder == Path("/out/a") else "")
    assert chosen == [Path("/out/a.mov"), Path("/out/a")]


def test_settings_and_prompts_of_single_videos(tmp_path: Path) -> None:
    made(tmp_path, "golf/a.mp4", "golf/b.mp4", "c.mp4")
    (tmp_path / "golf.yaml").write_text("people: {count: 1}\ncamera: {fov_deg: 50}\n")
    (tmp_path / "table.csv").write_text(
        "video,camera.person_height_m,click\ngolf/b.mp4,1.9,0:10,20; 3:4,5\n".replace("0:10,20; 3:4,5", '"0:10,20; 3:4,5"')
    )
    rows = [*read_settings_rows([f"golf/*={tmp_path / 'golf.yaml'}"]), *read_rows(tmp_path / "table.csv")]
    out = tmp_path / "out"
    a, b, c = sorted(plan_jobs(find_videos(tmp_path, out), out, Settings(), rows), key=lambda job: job.video.name)
    assert (a.settings.people.count, a.settings.camera.fov_deg, a.settings.camera.person_height_m) == (1, 50, None)
    assert (b.settings.people.count, b.settings.camera.person_height_m) == (1, 1.9)
    assert [(prompt.frame, prompt.person_id) for prompt in b.prompts] == [(0, 1), (3, 2)]
    assert c.settings == Settings()
    assert not c.prompts


def test_a_list_with_columns(tmp_path: Path) -> None:
    made(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "one.yaml").write_text("people: {count: 2}\n")
    (tmp_path / "list.csv").write_text("video,settings,text\nb.mp4,one.yaml,the golfer\na.mp4,,\n")
    b, a = plan_jobs(find_videos(tmp_path / "list.csv", tmp_path / "out"), tmp_path / "out", Settings())
    assert (b.name, b.settings.people.count, b.prompts[0].text) == ("b.mp4", 2, "the golfer")
    assert (a.settings.people.count, a.prompts) == ("main", ())


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ("video,hight\na.mp4,2\n", "unknown_column"),
        ("name\na.mp4\n", "unknown_column"),
        ("video,people.count\nb.mp4,1\n", "pattern_unmatched"),
        ("video,people.count\na.mp4,many\n", "bad_value"),
        ("video,click\na.mp4,here\n", "bad_prompt"),
    ],
)
def test_a_bad_table_is_refused_before_anything_runs(tmp_path: Path, table: str, code: str) -> None:
    made(tmp_path, "a.mp4")
    (tmp_path / "table.csv").write_text(table)
    with pytest.raises(SettingsError) as error:
        plan_jobs(find_videos(tmp_path, tmp_path / "out"), tmp_path / "out", Settings(), list(read_rows(tmp_path / "table.csv")))
    assert error.value.code == code


def test_shards_share_the_videos_out_and_agree_on_folders(tmp_path: Path) -> None:
    made(tmp_path, *(f"{n}.mp4" for n in range(7)), "3.mov")
    out = tmp_path / "out"
    found = find_videos(tmp_path, out)
    whole = [job.out for job in plan_jobs(found, out, Settings())]
    parts = [[job.out for job in plan_jobs(found, out, Settings(), shard=parse_shard(f"{i}/3"))] for i in (1, 2, 3)]
    assert [len(part) for part in parts] == [3, 3, 2]
    assert sorted([folder for part in parts for folder in part]) == sorted(whole)
    for text in ("0/3", "4/3", "1", "a/b"):
        with pytest.raises(SettingsError):
            parse_shard(text)
