"""The version of the package: results name it, and finished stages of another version are done again."""

__version__ = "0.1.0"
