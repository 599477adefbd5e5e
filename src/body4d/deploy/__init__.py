"""A HuggingFace Space of one's own: what it is sent (``bundle``), the calls to the Hub (``space``), what its container runs (``startup``,
``startup_proxy``), and how far it is (``status``)."""
