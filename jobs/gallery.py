"""Figures on disk: their files, and an index with captions, from which they can be read again."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.reports.figures import Drawing

INDEX = "figures.md"
"""For people."""
CATALOGUE = "captions.json"
"""The same for programs: name, title and caption of each figure."""


@dataclass(kw_only=True)
class Gallery:
    """Figures as they are drawn, in a folder."""

    folder: Path
    """Where their files go; what has the same name there is replaced."""
    drawings: list[Drawing] = field(default_factory=list)
    """What there is."""
    left_out: list[str] = field(default_factory=list)
    """What there is not, and why, a line each."""

    def open(self) -> None:
        """Makes the folder.

        Raises:
            ValueError: It can't be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, drawing: Drawing) -> None:
        """Writes a figure's files and says so on stderr.

        Raises:
            ValueError: They can't be written.
        """
        for name, content in files_of(drawing).items():
            self._write(name, content)
        self.drawings.append(drawing)
        sys.stderr.write(f"{self.folder / drawing.name}.png\n")

    def lacks(self, figures: str, why: str) -> None:
        """Notes that figures are left out, and says so on stderr."""
        self.left_out.append(f"{figures}: {why}")
        sys.stderr.write(f"left out, {figures}: {why}\n")

    def close(self) -> list[Path]:
        """Puts the figures in order and writes the indexes.

        Returns:
            All files that are in the folder because of this gallery.

        Raises:
            ValueError: They can't be written.
        """
        self.drawings.sort(key=lambda drawing: drawing.name)
        self._write(INDEX, self._index().encode())
        self._write(CATALOGUE, self._catalogue().encode())
        names = (INDEX, CATALOGUE, *(name for one in self.drawings for name in files_of(one)))
        return [self.folder / name for name in names]

    def _index(self) -> str:
        """All figures with their captions, as Markdown."""
        from pipeline.reports.markdown import escaped

        parts = ["# Figures"]
        for one in self.drawings:
            links = f"[SVG]({one.name}.svg), [numbers]({one.name}.csv)"
            title = escaped(one.title)
            parts += [f"## {title}", f"![{title}]({one.name}.png)", f"{escaped(one.caption)} {links}"]
        if self.left_out:
            parts += ["## Left out", "\n".join(f"- {escaped(line)}" for line in self.left_out)]
        return "\n\n".join(parts) + "\n"

    def _catalogue(self) -> str:
        told = [{"name": one.name, "title": one.title, "caption": one.caption} for one in self.drawings]
        return json.dumps(told, indent=2, ensure_ascii=False) + "\n"

    def _write(self, name: str, content: bytes) -> None:
        try:
            (self.folder / name).write_bytes(content)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> ValueError:
        return ValueError(f"--out {str(self.folder)!r} can't be written: {error.strerror}")


def files_of(drawing: Drawing) -> dict[str, bytes]:
    """A figure's files by name."""
    return {
        f"{drawing.name}.png": drawing.png,
        f"{drawing.name}.svg": drawing.svg.encode(),
        f"{drawing.name}.csv": drawing.csv.encode(),
    }


def read_gallery(folder: Path) -> list[Drawing]:
    """The figures that a gallery has left in a folder.

    Raises:
        ValueError: There are none, or a file of theirs is missing or damaged.
    """
    from pipeline.reports.figures import Drawing

    if not (folder / CATALOGUE).is_file():
        raise ValueError(f"--figures {str(folder)!r} has no {CATALOGUE}; give a folder that analyze.py has written to")
    try:
        return [
            Drawing(
                name=told["name"],
                title=told["title"],
                caption=told["caption"],
                png=(folder / f"{told['name']}.png").read_bytes(),
                svg=(folder / f"{told['name']}.svg").read_text("utf-8"),
                csv=(folder / f"{told['name']}.csv").read_text("utf-8"),
            )
            for told in json.loads((folder / CATALOGUE).read_text("utf-8"))
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"--figures {str(folder)!r} is damaged ({error}); run analyze.py again") from error
