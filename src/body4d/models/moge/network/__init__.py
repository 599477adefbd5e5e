"""MoGe-2 (Wang et al. 2025): a map of 3D points from one image, and the camera from the points. Images in, tensors out."""
