"""The phantom: a synthetic collection of chest radiographs with reports, annotations and truth.

Drawn from anatomy by a program, for tests and for the demo; docs/phantom.md says what it is good
for and what it is not.
"""

from cascade.io.phantom.findings import KINDS, Finding, Patient
from cascade.io.phantom.language import Report
from cascade.io.phantom.study import Box, PhantomStudy, PhantomView, draw_study
from cascade.io.phantom.write import write_phantom

__all__ = [
    "KINDS",
    "Box",
    "Finding",
    "Patient",
    "PhantomStudy",
    "PhantomView",
    "Report",
    "draw_study",
    "write_phantom",
]
