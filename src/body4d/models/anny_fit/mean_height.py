"""Mean heights of people by age and sex: what is assumed of a person whose height is not given."""

import numpy as np

from body4d.bodies.anny import FEMALE, MALE

ADULT_YEARS = 19.0
"""The tables end here, with grown people."""

# Medians in metres at whole years. WHO Child Growth Standards (2006) to 4 years, WHO growth reference (2007) from 5 to 19.
_MEN_M = (
    0.499, 0.757, 0.871, 0.961, 1.033, 1.100, 1.160, 1.217, 1.273, 1.326,
    1.378, 1.431, 1.491, 1.560, 1.632, 1.690, 1.729, 1.752, 1.761, 1.765,
)  # fmt: skip
_WOMEN_M = (
    0.491, 0.740, 0.857, 0.951, 1.027, 1.094, 1.151, 1.208, 1.266, 1.325,
    1.386, 1.450, 1.512, 1.564, 1.598, 1.617, 1.625, 1.629, 1.631, 1.632,
)  # fmt: skip


def mean_height_m(gender: float, age_years: float | None = None) -> float:
    """The mean height of people of Anny's ``gender`` and an age, None for adults: 1.765 m for men, 1.632 m for women, between them 1.70 m.

    One source holds children and adults: the World Health Organization's tables of height for age. Their adults, at 19 years, are taller
    than the world's (1.71 and 1.59 m: NCD Risk Factor Collaboration, eLife 2016) and shorter than the tallest nations' (1.83 and 1.69 m),
    so that either is wrong by 4 %.
    """
    years = np.arange(len(_MEN_M))
    man, woman = (float(np.interp(ADULT_YEARS if age_years is None else age_years, years, table)) for table in (_MEN_M, _WOMEN_M))
    return float(np.interp(gender, (MALE, FEMALE), (man, woman)))
