"""The browser application: upload a clip, choose whom to follow, see the body in 3D. Started by ``body4d app``; docs/app.md.

``server`` puts the parts together, ``page`` is the page, ``handlers`` what its buttons do, ``service`` what page and API ask for;
``sessions`` keeps each visitor's folder, ``queue`` the order of work, ``worker`` the process that computes. No global holds anything of a
visitor.
"""
