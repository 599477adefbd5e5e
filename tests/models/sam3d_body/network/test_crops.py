"""Crops on the device: geometry, pixels and rays against plain rewritings of the same rules."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from body4d.models.sam3d_body.network.crops import make_crops, ray_ramps, to_crop_coordinates, viewing_rays, warp_crops

SIZE = 64
BOXES = torch.tensor([[10.0, 8.0, 40.5, 70.0], [-6.0, 20.0, 61.0, 33.0], [50.0, 40.0, 90.0, 100.0]])
K = torch.tensor([[300.0, 0.0, 52.0], [0.0, 280.0, 41.0], [0.0, 0.0, 1.0]]).expand(3, 3, 3)


def crops(frame=(0, 1, 0), mirrored=None):
    return make_crops(BOXES, torch.tensor(frame), K, padding=1.25, aspect=0.75, crop_px=SIZE, mirrored=mirrored)


def random_frames(seed=0):
    return torch.randint(0, 256, (2, 90, 110, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_box_grows_to_its_square():
    made = crops()
    # 30.5 x 62: higher than 3:4, so its height; 67 x 13: wide, so its width over 3/4.
    assert made.side_px.tolist() == pytest.approx([62 * 1.25, 67 * 1.25 / 0.75, 60 * 1.25])
    middle = to_crop_coordinates(made.centre_px[:, None], made, SIZE)
    torch.testing.assert_close(middle, torch.zeros_like(middle), atol=1e-6, rtol=0)


def test_pixels_are_bilinear_and_black_outside():
    frames, made = random_frames(), crops()
    got = warp_crops(frames, made, SIZE).numpy()
    padded = np.zeros((2, 290, 310, 3))
    padded[:, 100:190, 100:210] = frames.numpy()
    for i, (x, y) in ((0, (5, 9)), (1, (0, 0)), (1, (60, 33)), (2, (63, 63)), (2, (3, 40))):
        A = made.affine[i].double().numpy()
        u, v = np.linalg.solve(A[:, :2], np.array([x, y]) - A[:, 2])
        a, b = int(np.floor(u)), int(np.floor(v))
        p, q = u - a, v - b
        f = padded[int(made.frame_index[i]), b + 100 : b + 102, a + 100 : a + 102]
        expected = (1 - q) * ((1 - p) * f[0, 0] + p * f[0, 1]) + q * ((1 - p) * f[1, 0] + p * f[1, 1])
        assert np.abs(got[i, :, y, x] - expected).max() <= 0.51


def test_mirrored_crop_is_the_crop_of_the_flipped_frame():
    frames = random_frames()
    mirrored = warp_crops(frames, crops(mirrored=torch.tensor([True, False, True])), SIZE)
    flipped = warp_crops(frames.flip(2), crops(), SIZE)
    plain = warp_crops(frames, crops(), SIZE)
    assert torch.equal(mirrored[[0, 2]], flipped[[0, 2]])
    assert torch.equal(mirrored[1], plain[1])
    assert not torch.equal(mirrored[0], plain[0])


@pytest.mark.parametrize("margin", [0, 8])
def test_rays_are_the_shrunk_full_size_rays(margin):
    made, grid = crops(), (8, (SIZE - 2 * margin) // 8)
    got = viewing_rays(made, ray_ramps(grid, SIZE, margin))
    y, x = torch.meshgrid(torch.arange(float(SIZE)), torch.arange(float(SIZE)), indexing="ij")
    points = torch.stack([x, y], -1).expand(3, SIZE, SIZE, 2)
    pixels = (points - made.affine[:, None, None, :, 2]) / made.affine[:, None, None, (0, 1), (0, 1)]
    full = (pixels - K[:, None, None, :2, 2]) / K[:, None, None, (0, 1), (0, 1)]
    full = full.permute(0, 3, 1, 2)[..., margin : SIZE - margin]
    expected = F.interpolate(full, size=grid, mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(got[:, :2], expected, atol=1e-6, rtol=1e-5)
    assert (got[:, 2] == 1).all()
