"""The directive of the book's quiz.

```` ```{quiz} NN_name ```` shows the questions of a chapter, with the answers folded, from
`book/quiz/NN_name.yml` (see `quiz.py`). The setting `quiz_answers: false` leaves the answers out.
"""

from docutils import nodes
from quiz import QUIZ, markdown, read
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class QuizDirective(SphinxDirective):
    """The questions of one chapter, and a link to it."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the parsed markdown of the questions."""
        path = QUIZ / f"{self.arguments[0]}.yml"
        self.env.note_dependency(str(path))
        answers = self.config.quiz_answers
        blocks = [markdown(question, answers) for question in read(path).questions]
        return self.parse_text_to_nodes("\n".join(blocks))


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_config_value("quiz_answers", True, "env", bool)
    app.add_directive("quiz", QuizDirective)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
