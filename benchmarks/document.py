"""Copy tables of results into the documentation:
what stands between `<!-- results: NAME -->` and `<!-- end -->`.

``python -m benchmarks.document`` after a benchmark; a test fails where a page and its results
differ.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- results: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, results: Path = Path(__file__).parent / "results") -> str:
    """Return a page with every table as its results have it."""

    def table(block: re.Match[str]) -> str:
        return f"{block[1]}\n{(results / f'{block[2]}.md').read_text()}\n{block[3]}"

    return BLOCK.sub(table, text)


def main() -> None:
    """Fill in all pages."""
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
            print(f"changed: {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
