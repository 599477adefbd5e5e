"""What can go wrong, said in one sentence.

Every error a user can cause or meet is a :class:`Body4DError`. Its text says what was wrong, what was found and what to do. The
command line prints that text alone and exits with ``exit_code``; a traceback is for a fault of ours.
"""


class Body4DError(Exception):
    """Base of all errors body4d raises on purpose. ``exit_code`` is what the command line exits with."""

    exit_code = 1


class InputError(Body4DError):
    """The video, prompt or run folder given cannot be used as it is."""

    exit_code = 3


class SettingsError(Body4DError):
    """A setting is unknown, has the wrong type, or contradicts another."""

    exit_code = 2


class NoPersonError(InputError):
    """The clip was read to its end and no person was found in it."""

    exit_code = 4


class MissingDependencyError(Body4DError):
    """An optional package is needed and is not installed, or cannot be on this Python."""

    exit_code = 5


class OutputError(Body4DError):
    """A result could not be written: no rights, no room, or the place is taken."""

    exit_code = 6


class WeightsError(Body4DError):
    """A checkpoint is missing, incomplete, altered, or has other keys than the network."""

    exit_code = 7


class DeviceError(Body4DError):
    """The device asked for is not there, or has too little memory for even one picture at a time."""

    exit_code = 8


class NotReadyError(Body4DError):
    """The doctor found that the main job cannot run on this machine."""

    exit_code = 9


class SpaceError(Body4DError):
    """The Hub refused something about a Space, or the Space, or what would be sent to it, is not as it must be."""

    exit_code = 10


class Cancelled(Body4DError):
    """The user stopped the run. What was finished is kept, and the same command goes on from there."""

    exit_code = 130
