"""OpenCV, and what is said where it cannot be loaded."""

from body4d.core.errors import MissingDependencyError


def require_headless_opencv() -> None:
    """Raise MissingDependencyError where OpenCV, which mediapipe imports, asks for a window system that is not there."""
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"OpenCV cannot be loaded ({error}). On a machine without a window system take the headless build: "
            "pip install --no-deps --force-reinstall opencv-contrib-python-headless==4.11.0.86"
        ) from error
