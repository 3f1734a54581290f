"""Writes the presets: `python -m pipeline.presets.paper`."""

from __future__ import annotations

import sys

from pipeline.presets.paper import CELLS, FOLDER, preset_text


def main() -> None:
    """Writes the files that are not yet what the table gives, and says how many."""
    texts = {cell.path: preset_text(cell) for cell in CELLS}
    changed = [path for path, text in texts.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in changed:
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts[path], encoding="utf-8")
    sys.stderr.write(f"{len(changed)} of {len(texts)} presets written to {FOLDER}\n")


if __name__ == "__main__":
    main()
