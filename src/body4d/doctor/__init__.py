"""What a stuck user runs first: facts of this machine (``look``), what each means (pure, a file each), and the verdict (``verdict``)."""
