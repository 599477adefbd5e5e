"""From bodies recovered frame by frame to the motion of a person.

``smoother`` runs an RTS smoother over the whole clip, on SO(3) for rotations, with a cut-off that follows the motion (Lepski's method);
each person keeps one body shape for the clip. ``foot_contact`` then holds feet that stand on the floor, which ``ground_plane`` estimates.
``uncertainty`` carries the smoother's variances to every named joint.
"""
