"""The directives of two pages: ```` ```{status} ```` shows `book/status.json` (see `status.py`),
```` ```{faults} ```` shows `book/faults.json` (see `faults.py`), or that there is no record yet."""

import json
from collections.abc import Callable
from pathlib import Path

import faults
import status
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class RecordDirective(SphinxDirective):
    """The tables of a recorded run."""

    record: Path
    table: Callable[[dict], str]

    def run(self) -> list[nodes.Node]:
        """Return the parsed tables."""
        self.env.note_dependency(str(self.record))
        if not self.record.is_file():
            return self.parse_text_to_nodes("No run is recorded for this version yet.")
        record = json.loads(self.record.read_text(encoding="utf-8"))
        return self.parse_text_to_nodes(type(self).table(record))


class StatusDirective(RecordDirective):
    """Versions and run times."""

    record = status.STATUS
    table = staticmethod(status.table)


class FaultsDirective(RecordDirective):
    """Faults that were tried."""

    record = faults.RECORD
    table = staticmethod(faults.table)


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_directive("status", StatusDirective)
    app.add_directive("faults", FaultsDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
