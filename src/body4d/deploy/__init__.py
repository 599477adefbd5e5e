"""A HuggingFace Space: what it is sent (``parcel``, ``inspect``), how it is asked (``hub``, ``condition``), what it runs (``start``)."""
