"""Where models come from: the embedded one, a folder, or the Hub; without torch, so that mistakes show at once."""

from pipeline.checkpoints.embedded import embedded_model_dir
from pipeline.checkpoints.inventory import ModelFiles, model_files
from pipeline.checkpoints.locate import check_model, model_source

__all__ = ["ModelFiles", "check_model", "embedded_model_dir", "model_files", "model_source"]
