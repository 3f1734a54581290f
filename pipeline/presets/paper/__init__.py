"""The paper's cells (arXiv 2511.20639, Tables 1-3) as presets: one table here, one YAML file a cell beside it.

`python -m pipeline.presets.paper` writes the files again after a change of the table. What the paper and its authors'
repository do not tell is marked as ours in the file.
"""

from pipeline.presets.paper.cells import CELLS, FOLDER, Cell
from pipeline.presets.paper.files import preset_text
from pipeline.presets.paper.published import PublishedResult, published_results

__all__ = ["CELLS", "FOLDER", "Cell", "PublishedResult", "preset_text", "published_results"]
