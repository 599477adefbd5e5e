"""The browser application: upload a clip, choose whom to follow, see the body in 3D. Started by ``body4d app``; docs/app.md.

``serve`` puts the parts together, ``layout`` is the page, ``handlers`` what its buttons do, ``routes`` what is served beside it;
``visits`` keeps each visitor's folder, ``jobs`` the queue, ``worker`` the process that computes. Nothing of a visitor is held in a global.
"""
