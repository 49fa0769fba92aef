"""pydicom without its warnings and its log."""

from __future__ import annotations

import contextlib
import logging
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from pydicom import config as pydicom_config

_lock = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings and log: they may quote values that identify a patient.

    The switches are global to the process, hence the lock.
    """
    logger = logging.getLogger("pydicom")
    with _lock, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        level, mode = logger.level, pydicom_config.settings.reading_validation_mode
        logger.setLevel(logging.CRITICAL)
        pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE
        try:
            yield
        finally:
            logger.setLevel(level)
            pydicom_config.settings.reading_validation_mode = mode
