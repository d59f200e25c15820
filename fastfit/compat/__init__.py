"""Drop-in replacements: ``linregress`` for SciPy's, and ``polyfit`` for NumPy's.

They take the arguments and return the results of ``scipy.stats.linregress``, of the SciPy that is installed (1.14 or
later; else of 1.17), and of ``numpy.polyfit``, but compute them in one pass, and in twice the precision of floats. So
large offsets of x, such as time stamps, lose no accuracy, and the errors of a nearly perfect line are right.
``patch()`` puts them in the place of SciPy's and NumPy's functions.

>>> from fastfit.compat import linregress, polyfit
>>> slope, intercept, rvalue, pvalue, stderr = linregress([1.0, 2.0, 3.0], [2.0, 4.0, 6.5])
>>> polyfit([1.0, 2.0, 3.0], [2.0, 4.0, 6.5], 1)
array([ 2.25      , -0.33333333])
"""

from fastfit.compat.numpy import polyfit
from fastfit.compat.patching import patch, patched, unpatch
from fastfit.compat.scipy import LinregressResult, linregress

__all__ = ["LinregressResult", "linregress", "patch", "patched", "polyfit", "unpatch"]
