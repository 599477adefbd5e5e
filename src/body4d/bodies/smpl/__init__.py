"""SMPL and SMPL-X (Loper et al. 2015, Pavlakos et al. 2019) as far as exports need them: their files, their skinning, a fit to points.

The model files are the user's own: their licence lets nobody pass them on. The skinning is written from the papers.
"""
