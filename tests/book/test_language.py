"""The language of the book: words that the field does not use are refused, with what to write.

Searched: markdown cells of notebooks, the pages, the quiz, the slides, README, CONTRIBUTING and the
like, and the docstrings and messages of Python files. Code, formulas, roles and links in markdown
are not searched, so a text that quotes a wrong word puts it in backticks.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(p for p in (ROOT / "book").rglob("*.md") if "vendor" not in p.parts),
    *sorted((ROOT / "book" / "quiz").glob("*.yml")),
    *sorted((ROOT / "book" / "slides").glob("*.yml")),
    ROOT / "posekit" / "minidome" / "README.md",
]
NOTEBOOKS = [p for p in sorted((ROOT / "chapters").rglob("*.ipynb")) if "." not in p.parts[-2]]
SOURCES = [
    path
    for folder in ("posekit", "data_scripts", "benchmarks", "book/experiments", "book/tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

NUMBER = (
    r"(?:\d[\d,.]*(?<![.,])|one|two|three|four|five|six|seven|eight|nine|ten|hundred|thousand|million"
    r"|few)"
)
#: What is counted in "two joints a person".
UNIT = (
    r"(?:ms|milliseconds?|seconds|minutes?|pixels?|bytes?|kB|MB|nats?|bits?|numbers?|values?|weights?"
    r"|lines?|joints?|limbs?|outputs?|constants?)"
)
#: The same, for nouns that may be verbs ("it scales an image"): a number must come first.
COUNTED = r"(?:scales?|errors?|votes?|maps?|cells?|points?|people|images?|crops?|rays?|rows?)"
THING = (
    r"(?:joint|limb|person|pixel|diameter|frame|crop|image|photo|channel|step|epoch|record|layer|block"
    r"|batch|weight|row|network|coordinate|class|cell|body|camera|file|chapter|notebook|page)"
)
NETWORK = (
    r"(?:network|net|model|head|layer|backbone|refiner|regressor|detector"
    r"|stage (?:one|two|three))s?"
)
BETWEEN = (
    r"(?:(?:that|which|itself|really|already|has|have|had|still|only|also|does not|do not|cannot"
    r"|can|must|should|would)\s+)*"
)


class Pattern(NamedTuple):
    """A way of writing that is refused: its name, how it is found, and what to write instead."""

    name: str
    regex: str
    better: str
    bad: str
    good: str


PATTERNS = [
    Pattern(
        "nobody, somebody, everybody",
        r"\b(?:no|some|every|any)body\b",
        "no person, a person, every person, an annotator, you",
        "crops with nobody in them",
        "crops without a person",
    ),
    Pattern(
        "mend",
        r"\bmend(?:s|ed|ing)?\b",
        "fix, correct",
        "the line in it and the mend",
        "we recommend the fix",
    ),
    Pattern("anew", r"\banew\b", "again", "it is made anew", "it is made again, in a new file"),
    Pattern(
        "whoever", r"\bwho(?:so)?ever\b", "if you, a reader who", "Whoever forgets", "If you forget"
    ),
    Pattern(
        "Who + verb",
        r"(?:^|[.!?]\s+|[:|]\s+|\*\*)Who\s+(?!(?:and|or)\b)[a-z][^.?!]*[.!](?=\s|$|\*|[”\"])",
        "If you ..., A person who ...",
        "It is short. Who forgets the flag trains a corner.",
        "Who is in front? People who sit are short. Who is it that stands there?",
    ),
    Pattern(
        "before + camera",
        r"\bbefore\s+(?:(?:the|an?|your|their|his|her|its|my|our|this|that|each|every|one|phones?|or|and)\s+)*"
        r"(?:camera|webcam|phone|laptop|lens)s?\b"
        r"(?!\s+(?:is|was|are|has|starts?|opens?|gets?|can|runs?|stops?))",
        "in front of",
        "people before their webcams",
        "people in front of their webcams, before the camera is on",
    ),
    Pattern(
        "dear",
        r"\bdear(?:er|est|ly)?\b",
        "expensive, slow, large",
        "3×3 convolutions are dear",
        "3×3 convolutions are expensive",
    ),
    Pattern(
        "a for per",
        rf"(?<![-\w])(?:(?:{NUMBER}\s+)?{UNIT}\s+an?\s+{THING}"
        rf"|(?<!\.)(?<![Cc]hapter ){NUMBER}\s+(?:{COUNTED}\s+)?an?\s+{THING})\b"
        r"(?!\s+(?:is|has|needs|takes|covers|sees|holds|gets|can|does)\b)",
        "per",
        "it takes 3 ms a frame and one scale a channel",
        "It takes 3 ms per frame. In chapter 15 a file is read; the pixels a person covers.",
    ),
    Pattern(
        "picture",
        r"(?<![/\w])pictures?\b",
        "image, photo, crop, frame; a drawing is a figure",
        "turns each picture together with its joints",
        "rotates each image together with its joints",
    ),
    Pattern(
        "a network says, believes, knows, thinks",
        rf"\b{NETWORK}\s+{BETWEEN}(?:says?|said|believes?|believed|knows?|knew|known|thinks?|thought)\b",
        "predicts, estimates, assumes, has learnt",
        "where the network believes the wrist to be",
        "where the network predicts the wrist, as is well known",
    ),
    Pattern(
        "made people",
        r"\bmade(?:[- ]up)?\s+(?:people|persons?|clips?|images?|photos?|pictures?|pose)\b",
        "synthetic, rendered",
        "three scenes of made people",
        "three scenes of synthetic people, made by MiniDome",
    ),
    Pattern(
        "check sum", r"\bcheck[ -]sums?\b", "checksum", "a wrong check sum", "a wrong checksum"
    ),
    Pattern("telephone", r"\btelephones?\b", "phone", "A telephone stores it", "A phone stores it"),
    Pattern(
        "trunk", r"\btrunks?\b", "torso; of a network: backbone", "a long trunk", "a long torso"
    ),
    Pattern(
        "by heart",
        r"\bby heart\b",
        "memorised, overfitted",
        "learnt by heart",
        "memorised at heart",
    ),
    Pattern(
        "way back",
        r"(?<!\ball )\b(?:the|its|a) way back\b",
        "backward pass; of an affine: inverse map",
        "kept for the way back",
        "kept for the backward pass",
    ),
    Pattern(
        "votes head",
        r"\bvotes head\b",
        "offset-voting head",
        "the votes head",
        "the offset-voting head",
    ),
]

#: Patterns in which a capital letter begins another sentence.
CASE_MATTERS = {"Who + verb", "a for per"}

#: (part of the file's path, the text that is found): the reason. Keep it short.
ALLOWED = {
    (
        "minidome/sequence.py",
        "made people",
    ): "written into the data set, whose bytes a golden digest holds",
}


class Hit(NamedTuple):
    """One place where a pattern was found."""

    where: str
    pattern: Pattern
    text: str

    def __str__(self) -> str:
        return f"{self.where}: [{self.pattern.name}] “{self.text}”; write: {self.pattern.better}"


def blank(match: re.Match) -> str:
    """As many line breaks as the match had, so that lines keep their numbers."""
    return " \u00a7 " + "\n" * match.group().count("\n")


def prose(markdown: str) -> str:
    """Markdown without code, formulas, HTML, roles and the targets of links, line for line."""
    fence = r"(?ms)^(?P<f>`{3,}|~{3,})(?P<kind>[^\n]*)\n(?P<body>.*?)^(?P=f)[^\n]*$"

    def fenced(match: re.Match) -> str:
        if re.match(
            r"\{(?:figure|note|tip|warning|admonition|glossary|dropdown|important)", match["kind"]
        ):
            title = re.sub(r"^\{\w+\}", "", match["kind"]) if "figure" not in match["kind"] else ""
            return title + "\n" + prose(match["body"]) + "\n"
        return blank(match)

    text = re.sub(fence, fenced, markdown)
    text = re.sub(r"(?s)<!--.*?-->|<(script|style|svg)\b.*?</\1>", blank, text)
    for pattern in (r"\{[\w:]+\}`[^`]*`", r"(`+)[^`].*?\1", r"(?s)\$\$.*?\$\$", r"\$[^$\n]+\$"):
        text = re.sub(pattern, blank, text)
    text = re.sub(r"\]\([^)\s]*\)", "]", text)
    return re.sub(r"<[^>\n]*>|https?://\S+", " ", text)


def messages(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring and every string of a Python source that has words in it."""
    tree = ast.parse(source)
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = []
            for value in node.values:
                if isinstance(value, ast.Constant):
                    inside.add(id(value))
                    parts.append(str(value.value))
                else:
                    parts.append("§")
            yield node.lineno, "".join(parts)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            if " " in node.value.strip():
                yield node.lineno, node.value


def texts(path: Path) -> Iterator[tuple[str, int, str]]:
    """(where, first line, text) of what a reader of a file reads."""
    name = str(path.relative_to(ROOT))
    content = path.read_text(encoding="utf-8")
    if path.suffix in (".md", ".yml"):
        yield name, 1, prose(content)
    elif path.suffix == ".ipynb":
        for number, cell in enumerate(json.loads(content)["cells"]):
            if cell["cell_type"] == "markdown":
                yield f"{name} cell {number} line", 1, prose("".join(cell["source"]))
    else:
        for line, text in messages(content):
            yield name, line, re.sub(r"(`+)[^`]+\1", " § ", text)


def hits_in(where: str, first: int, text: str) -> Iterator[Hit]:
    for pattern in PATTERNS:
        flags = re.MULTILINE if pattern.name in CASE_MATTERS else re.IGNORECASE
        for match in re.finditer(pattern.regex, text, flags):
            line = first + text.count("\n", 0, match.start())
            found = " ".join(match.group().split())
            if not any(file in where and found == piece for file, piece in ALLOWED):
                colon = " " if where.endswith("line") else ":"
                yield Hit(f"{where}{colon}{line}", pattern, found)


def hits(path: Path) -> list[Hit]:
    """Every place of a file where a pattern is found."""
    return [hit for where, first, text in texts(path) for hit in hits_in(where, first, text)]


# ---- tests --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda p: p.name)
def test_each_pattern_finds_a_bad_sentence_and_lets_a_good_one_pass(pattern):
    def names(text):
        return {hit.pattern.name for hit in hits_in("a page", 1, prose(text))}

    assert pattern.name in names(pattern.bad)
    assert pattern.name not in names(pattern.good)


def test_code_links_and_formulas_are_not_prose():
    markdown = """Write `nobody` and {run}`nobody:mend`, or [see](telephone.md) $dear$.

```python
anew = "picture"
```

```{figure} pictures/x.png
:width: 100%

A picture of it.
```
"""
    assert [str(hit) for hit in hits_in("page.md", 1, prose(markdown))] == [
        "page.md:10: [picture] “picture”; write: image, photo, crop, frame; a drawing is a figure"
    ]


def test_docstrings_and_messages_are_read_and_names_are_not(tmp_path):
    source = '''"""Crops with nobody."""
anew = {"nobody": f"photo {1}: a check sum is wrong"}  # a comment
'''
    found = [
        (line, hit.pattern.name)
        for line, text in messages(source)
        for hit in hits_in("x.py", line, text)
    ]
    assert sorted(found) == [(1, "nobody, somebody, everybody"), (2, "check sum")]


@pytest.mark.parametrize(
    "files", [PAGES, NOTEBOOKS, SOURCES], ids=["pages", "notebooks", "docstrings and messages"]
)
def test_the_book_uses_the_words_of_the_field(files):
    found = [str(hit) for path in files for hit in hits(path)]
    assert not found, "\n".join(["words to replace:", *found])


def test_exceptions_are_few_and_each_has_its_reason_and_its_use():
    assert len(ALLOWED) <= 5
    for (file, piece), reason in ALLOWED.items():
        assert len(reason.split()) >= 4
        paths = [p for p in (*PAGES, *NOTEBOOKS, *SOURCES) if file in str(p.relative_to(ROOT))]
        assert any(piece in text for path in paths for _, _, text in texts(path)), piece
