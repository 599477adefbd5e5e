"""The table of export formats, for docs/formats.md.

python scripts/formats_page.py
"""

from body4d.export.formats import formats_table

if __name__ == "__main__":
    print(formats_table())
