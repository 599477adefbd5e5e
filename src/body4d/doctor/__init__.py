"""What a stuck user runs first: facts about this machine (``facts``), what each fact means (``checks``), and the report (``report``)."""
