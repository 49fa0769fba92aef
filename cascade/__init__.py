"""Cascade reads chest X-rays: the recurrent neural cascade of Shin et al. 2016 as a tool.

Research software, not a medical device. Importing this package imports nothing heavy; each room
(``cascade.io``, ``cascade.labels``, ...) is imported where it is needed.
"""

__version__ = "0.1.0"

RESEARCH_NOTICE = (
    "Research software, not a medical device. Drafts are machine-made and unverified: "
    "a radiologist must read the images."
)

__all__ = ["RESEARCH_NOTICE", "__version__"]
