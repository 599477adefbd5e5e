"""MoGe-2 (Wang et al. 2025): from one picture to a map of 3D points, and from the points to the camera. Pictures in, tensors out."""
