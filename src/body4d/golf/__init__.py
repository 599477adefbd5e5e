"""A golf swing in a finished run: its frame, its events, its measures, each with how sure it is.

``analyze(scene)`` takes a Scene alone and returns a ``GolfAnalysis``; reports, tables and comparisons are made from that.
"""
