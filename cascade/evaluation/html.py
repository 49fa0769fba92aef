"""How templates of pages are read, whichever room they lie in: escaped, and strict about names."""

from __future__ import annotations

import jinja2


def page_environment(package: str, folder: str = "templates") -> jinja2.Environment:
    """The templates of a room, by ``get_template``.

    Args:
        package: such as ``cascade.pipeline``.
        folder: in it.
    """
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package, folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
