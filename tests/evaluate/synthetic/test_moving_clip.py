"""Small films by moving cameras: their pictures show what their truth says, and the walker does the same in all of them."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from body4d.core.scene_io import load_masks, load_scene
from body4d.evaluate.synthetic.camera_moves import MOVE_KINDS
from body4d.evaluate.synthetic.clip import make_moving_clip
from body4d.evaluate.world import camera_kind, joints_in_world, score_world
from body4d.video import VideoReader, probe

pytestmark = pytest.mark.slow  # Anny is set up

WIDTH, HEIGHT = 256, 144
FEET = ("left_heel", "left_big_toe", "right_heel", "right_big_toe")


@pytest.fixture(scope="module", params=["static", "zoom", "follow"])
def filmed(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, make_moving_clip(request.param, folder, rate=5, seconds=1.6, seed=1, size=(WIDTH, HEIGHT))


def read(clip):
    frames = [picture.astype(np.float32) for _, picture in VideoReader(probe(clip.video)).read()]
    return load_scene(clip.truth, clip.video), load_masks(clip.truth_masks), frames


def floor_homography(scene, a, b):
    """Pixels of frame ``b`` for pixels of frame ``a``, for what lies on the floor."""

    def floor_to_px(frame):
        T_camera_world = np.linalg.inv(scene.T_world_camera_at(np.array([frame]))[0])
        return scene.camera.at(frame).K @ T_camera_world[:3, [0, 2, 3]]

    return floor_to_px(b) @ np.linalg.inv(floor_to_px(a))


def test_the_floor_moves_through_the_pictures_as_the_true_path_says(filmed):
    move, clip = filmed
    scene, masks, frames = read(clip)
    assert camera_kind(scene.camera) == MOVE_KINDS[move]
    first, last = 2, 4
    y, x = np.mgrid[HEIGHT * 3 // 4 : HEIGHT, 0:WIDTH]
    H = floor_homography(scene, first, last)
    moved = H @ np.stack([x + 0.5, y + 0.5, np.ones_like(x)]).reshape(3, -1)
    there = (moved[:2] / moved[2] - 0.5).reshape(2, *x.shape)
    inside = (there[0] > 1) & (there[0] < WIDTH - 2) & (there[1] > HEIGHT // 2) & (there[1] < HEIGHT - 2)
    shadow = np.ones((HEIGHT, WIDTH), bool)  # nobody and no shadow
    for frame in (first, last):
        columns = np.nonzero(masks[0].mask(list(masks[0].frame_index).index(frame)))[1]
        shadow[:, max(columns.min() - 25, 0) : columns.max() + 45] = False
    clear = shadow[y, x] & inside
    clear &= shadow[np.clip(there[1].astype(int), 0, HEIGHT - 1), np.clip(there[0].astype(int), 0, WIDTH - 1)]
    assert clear.sum() > 400

    def alike(coordinates):
        seen = map_coordinates(frames[last][..., 1], coordinates, order=1)
        return np.corrcoef(seen[clear], frames[first][y, x, 1][clear])[0, 1]

    assert alike([there[1], there[0]]) > 0.97
    if move != "static":
        assert alike([y, x]) < 0.6  # the camera has moved: the test could fail
        assert alike([there[1], there[0] + 3]) < 0.92  # three pixels beside it is not it


def test_the_walker_does_the_same_whatever_the_camera_does_and_stands_on_feet_that_are_still(filmed):
    _, clip = filmed
    scene, masks, _ = read(clip)
    person = scene.people[0]
    rows = np.arange(len(person))
    for row, frame in enumerate(person.frame_index):
        np.testing.assert_allclose(scene.camera.at(int(frame)).project(person.joints_m[row]), person.keypoints_px[row], atol=0.1)
    score = score_world(scene, masks, scene, masks).people[0]
    assert score.wa_mpjpe100_mm == pytest.approx(0, abs=1e-3)
    assert score.walked_error_share == 0
    assert 1.4 < score.true_walked_m < 1.9  # 1.2 m/s for 1.4 s
    feet = joints_in_world(scene, person, FEET, rows)
    speed = np.linalg.norm(np.diff(feet, axis=0), axis=-1) * 5
    assert np.sum(speed < 0.01) >= 4  # a foot flat on the floor is still, however the camera moves
    walk = joints_in_world(scene, person, ("left_hip", "right_hip"), rows).mean(1)
    np.testing.assert_allclose(np.linalg.norm(walk[-1] - walk[0]), score.true_walked_m, atol=0.05)


@pytest.mark.parametrize(
    ("arguments", "words"), [({"move": "drone"}, "unknown camera move 'drone'"), ({"move": "pan", "people": 3}, "one or two people")]
)
def test_wrong_arguments_are_refused(arguments, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        make_moving_clip(folder=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())
