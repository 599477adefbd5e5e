"""``python -m body4d``."""

from body4d.cli.entry import main

if __name__ == "__main__":
    main()
