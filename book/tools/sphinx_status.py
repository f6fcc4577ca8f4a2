"""The directive of the status page: ```` ```{status} ```` shows `book/status.json` (see
`status.py`), or says that there is no record yet."""

import json

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from status import STATUS, table


class StatusDirective(SphinxDirective):
    """The tables of the recorded run."""

    def run(self) -> list[nodes.Node]:
        """Return the parsed tables."""
        self.env.note_dependency(str(STATUS))
        if not STATUS.is_file():
            return self.parse_text_to_nodes("No run is recorded for this version yet.")
        return self.parse_text_to_nodes(table(json.loads(STATUS.read_text(encoding="utf-8"))))


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_directive("status", StatusDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
