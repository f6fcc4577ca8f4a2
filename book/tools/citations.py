"""Citations and lists of references in notebooks, as plain Markdown that every viewer shows.

An author writes ``{footcite:p}`key` `` or ``{footcite:t}`key` ``, as in the book's pages. The
committed form of a notebook (`notebooks.normalise`) has

    ([Toshev and Szegedy, 2014](#references))    for {footcite:p}
    [Toshev and Szegedy (2014)](#references)     for {footcite:t}

instead, and lists under its heading "References" the works that it cites. JupyterLab, code hosts
and other viewers show both as they are; `sphinx_book` makes each citation of the built book a link
to its entry in the list.
"""

import functools
import re
from pathlib import Path

from pybtex.backends.markdown import Backend
from pybtex.database import Entry, parse_file
from pybtex.style.formatting.plain import Style

REFERENCES = Path(__file__).resolve().parents[1] / "references.bib"
HEADING = "## References"
_ROLE = re.compile(r"\{footcite:([pt])\}`([^`]+)`")
LINK = re.compile(r"\[([^\]\[]+?,? \(?\d{4}[a-z]?\)?)\]\(#references\)")
"""A citation in the committed form; group 1 is its label."""


def _authors(entry: Entry) -> str:
    """Return "Toshev and Szegedy", or "He et al." for three authors or more."""
    names = [
        str(" ".join([*person.prelast_names, *person.last_names])).replace("{", "").replace("}", "")
        for person in entry.persons["author"]
    ]
    several = len(names) > 2 or names[-1] == "others"
    return f"{names[0]} et al." if several else " and ".join(names)


@functools.cache
def labels() -> dict[str, str]:
    """Return key -> label of all works in references.bib, such as "Toshev and Szegedy, 2014".

    Works of the same authors and year get a letter, in the order of the file.
    """
    entries = parse_file(REFERENCES).entries
    plain = {key: f"{_authors(entry)}, {entry.fields['year']}" for key, entry in entries.items()}
    found = {}
    for key, label in plain.items():
        alike = [other for other, text in plain.items() if text == label]
        found[key] = label + (chr(ord("a") + alike.index(key)) if len(alike) > 1 else "")
    return found


@functools.cache
def _keys() -> dict[str, str]:
    return {label: key for key, label in labels().items()}


def key_of(label: str) -> str:
    """Return the key of a citation's label, "Toshev and Szegedy, 2014" or "... (2014)".

    Raises:
        KeyError: if references.bib has no such work.
    """
    return _keys()[re.sub(r",? \((\d{4}[a-z]?)\)$", r", \1", label)]


def link_citations(markdown: str) -> str:
    """Replace the roles of citations by links to the list of references.

    Raises:
        KeyError: if references.bib does not have a key.
    """

    def link(match: re.Match) -> str:
        cited = [labels()[key.strip()] for key in match[2].split(",")]
        if match[1] == "t":
            cited = [re.sub(r", (\d{4}[a-z]?)$", r" (\1)", label) for label in cited]
            return " and ".join(f"[{label}](#references)" for label in cited)
        return f"({'; '.join(f'[{label}](#references)' for label in cited)})"

    return _ROLE.sub(link, markdown)


def cited_keys(markdown: str) -> list[str]:
    """Return the keys of the works that a text in the committed form cites, each once.

    Raises:
        KeyError: if a label is of no work in references.bib.
    """
    return list(dict.fromkeys(key_of(label) for label in LINK.findall(markdown)))


def reference_list(keys: list[str]) -> str:
    """Format works as a Markdown list, in the order of their labels.

    An item is the work's label, in bold, and its description in pybtex's plain style.
    """
    entries = parse_file(REFERENCES).entries
    items = []
    for key in sorted(keys, key=lambda key: labels()[key].lower()):
        text = Style().format_entry(key, entries[key]).text.render(Backend())
        text = re.sub(r"\\*\\url\s*", "", re.sub(r"\s+", " ", text))
        text = re.sub(r"\\([-.()#!+])", r"\1", text)
        text = re.sub(r"(?<![(\[])https://[^\s,]+[^\s,.]", r"<\g<0>>", text.replace("\\_", "_"))
        items.append(f"- **{labels()[key]}.** {text}")
    return "\n".join(items)
