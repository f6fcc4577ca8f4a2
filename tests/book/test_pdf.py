"""The PDF of the book, printed from two of its pages."""

from pathlib import Path

import pdf
import pytest
from browser import find_chromium


@pytest.mark.browser
def test_pages_are_printed_with_an_outline_and_without_paths(built_book, tmp_path, monkeypatch):
    from pypdf import PdfReader

    if find_chromium() is None:
        pytest.skip("no Chromium found: install it (apt install chromium) or name it in CHROMIUM")
    every = list(pdf.pages())
    names = [name for name, _ in every]
    assert len(names) == len(set(names)) and "chapters/05_densenet" in names
    html = built_book / "_build" / "html"
    assert all((html / f"{name}.html").is_file() for name in names)

    chapter = "chapters/08_transfer"
    monkeypatch.setattr(pdf, "pages", lambda: iter([("book/references", 0), (chapter, 1)]))
    file = Path(tmp_path) / "new" / "book.pdf"
    count = pdf.print_book(html, file)
    reader = PdfReader(file)
    assert len(reader.pages) == count > 5
    (references, (transfer,)) = reader.outline
    assert (references.title, transfer.title[:17]) == ("References", "Transfer learning")
    first = reader.get_destination_page_number(transfer)
    assert "Transfer learning" in reader.pages[first].extract_text()
    text = " ".join(" ".join(page.extract_text() for page in reader.pages[first:]).split())
    assert "Adam divides each" in text  # a folded answer
    assert "network.set_weights(weights" in text  # the folded code of a figure
    assert str(html).encode() not in file.read_bytes()
    links = [
        annotation.get_object()["/A"].get("/URI", "")
        for page in reader.pages
        for annotation in page.get("/Annots", [])
        if "/A" in annotation.get_object()
    ]
    assert any(link.startswith("https://") for link in links)
    assert not [link for link in links if link.startswith("file:")]
