"""SAM-3D-Body: a crop of a person in, MHR body parameters and a camera translation out.

Own code from published facts (SAM 3D Body, Meta Superintelligence Labs 2025). The modules here hold no files and no settings of their own.
"""
