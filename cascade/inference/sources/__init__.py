"""Where an archive's images lie: a folder tree, an archive, a list, a DICOMDIR, a DICOMweb server.

``open_source`` gives a ``Source``, which lists them as ``Entry``s; ``EntryReader`` reads one.
Nothing is ever unpacked to disk, no link is followed out of the source, and whatever cannot be read
safely is an entry that carries its reason, so that nothing is lost in silence.
"""

from cascade.inference.sources.archives import refuse_member
from cascade.inference.sources.entry import (
    SUFFIXES,
    Entry,
    Source,
    UnsafeEntryError,
    is_picture,
    looks_like_image,
    printable,
)
from cascade.inference.sources.folder import find_entries
from cascade.inference.sources.opening import FileSource, open_source
from cascade.inference.sources.reader import EntryReader

__all__ = [
    "SUFFIXES",
    "Entry",
    "EntryReader",
    "FileSource",
    "Source",
    "UnsafeEntryError",
    "find_entries",
    "is_picture",
    "looks_like_image",
    "open_source",
    "printable",
    "refuse_member",
]
