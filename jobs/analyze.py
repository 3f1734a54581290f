"""Draws the paper's figures from finished runs: PNG, SVG, the numbers as CSV, and an index with captions.

A folder that holds several run folders stands for all of them. Figures 4, 7 and 8 come of the runs alone; for 5 and 6 a
team of a run thinks again, without Ray. Progress goes to stderr, with a line for each figure that is left out and why;
the last line on stdout is one JSON object with the files and the numbers.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.cli import STOPPED, complain, result_stream
from jobs.gallery import Gallery, files_of
from pipeline.validation import require

if TYPE_CHECKING:
    from jobs.inside import Insight, Subject
    from pipeline.reports import FinishedRun

PROG = "analyze.py"
EXPERIMENT = "latentmas/analysis"
"""Where figures are logged."""


def main(argv: Sequence[str] | None = None) -> int:
    """Draws figures; returns the exit code."""
    options = parser().parse_args(argv)
    gallery = Gallery(folder=options.out)
    try:
        analyze(options, gallery)
    except ValueError as error:
        return complain(PROG, error)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return STOPPED
    figures = {
        one.name: {"title": one.title, "files": list(files_of(one)), "numbers": dict(one.numbers)}
        for one in gallery.drawings
    }
    result_stream().write(
        json.dumps({"out": str(gallery.folder), "figures": figures, "left_out": gallery.left_out}) + "\n"
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog=PROG, description=__doc__)
    made.add_argument("run_dirs", nargs="+", type=Path, metavar="RUN_DIR", help="run folder of jobs/eval.py")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for figures; replaces their files")
    few = "figures 5 and 6: think about the first N questions of each task (default: %(default)s)"
    made.add_argument("--questions", type=int, default=24, metavar="N", help=few)
    most = "figures 5 and 6: most points of each kind that are used (default: %(default)s)"
    made.add_argument("--points", type=int, default=1000, metavar="N", help=most)
    made.add_argument("--model", metavar="MODEL", help="where the model of the runs is now, if it has moved")
    made.add_argument("--no-mlflow", action="store_true", help="log nothing to MLflow")
    where = "MLflow server or store; by default $MLFLOW_TRACKING_URI, else mlflow.db in the current folder"
    made.add_argument("--tracking-uri", metavar="URI", help=where)
    return made


def analyze(options: argparse.Namespace, gallery: Gallery) -> None:
    """Draws all figures for which there is material.

    Raises:
        ValueError: A folder holds no finished run, nothing can be drawn or written, or --model can't be used.
    """
    for name, least in (("questions", 1), ("points", 10)):
        require(getattr(options, name) >= least, name, getattr(options, name), f"{least} or more")
    # What is slow to import comes after the command line has proved right.
    from jobs.inside import subjects

    # 1. What there is, before anything takes time.
    runs = read(options.run_dirs)
    found = subjects(runs)
    check_model_for(found, options.model)
    gallery.open()
    # 2. Figures for which a model has to think, then those of the runs alone.
    tied = draw_insides(found, gallery, options)
    draw_runs(runs, gallery, tied)
    if not gallery.drawings:
        raise ValueError(f"no figure can be drawn of these runs: {'; '.join(gallery.left_out)}")
    # 3. The index, and MLflow.
    files = gallery.close()
    if not options.no_mlflow:
        log(gallery, files, options.tracking_uri)


def read(run_dirs: Sequence[Path]) -> list[FinishedRun]:
    """The runs of some folders; says on stderr which of them are not finished.

    Raises:
        ValueError: A folder holds no finished run, or one is damaged.
    """
    from pipeline.runtime.finished import finished_folders, read_runs

    found = [finished_folders(path) for path in run_dirs]
    for folder in (folder for _, unfinished in found for folder in unfinished):
        sys.stderr.write(f"{folder}: not finished, so left out\n")
    return list(read_runs(list(dict.fromkeys(folder for finished, _ in found for folder in finished))).values())


def check_model_for(found: Sequence[Subject], moved: str | None) -> None:
    """Refuses a `--model` that can't stand for the model of the runs.

    Raises:
        ValueError: There is no such model, or the runs have several.
    """
    from pipeline.checkpoints import check_model

    models = list(dict.fromkeys(subject.model for subject in found))
    if moved is not None:
        if len(models) > 1:
            raise ValueError(f"--model {moved!r} can't stand for several models; the runs have {', '.join(models)}")
        check_model(moved)


def draw_runs(runs: Sequence[FinishedRun], gallery: Gallery, tied: Collection[str]) -> None:
    """Draws what finished runs alone can give; captions tell which models tie their embeddings."""
    from pipeline.reports.figures import figures_of_runs

    for figure in figures_of_runs(tied):
        drawing = figure.drawn(runs)
        if drawing is not None:
            gallery.add(drawing)
        else:
            gallery.lacks(f"figure {figure.number}", f"it needs {figure.needs}")


def draw_insides(found: Sequence[Subject], gallery: Gallery, options: argparse.Namespace) -> set[str]:
    """Draws what goes on inside: figure 5 of all tasks together, and a figure 6 of each.

    Returns:
        The models that were found to tie their embeddings.
    """
    from jobs.inside import NEEDS
    from pipeline.reports.figures.clouds import clouds_figure
    from pipeline.reports.figures.drifting import drift_figure
    from pipeline.reports.figures.selecting import TIED, names_of

    if not found:
        gallery.lacks("figures 5 and 6", f"they need {NEEDS}")
    tied = set(TIED)
    clouds = []
    tasks, models = names_of(one.task for one in found), names_of(one.model for one in found)
    for subject, insight in insights(found, gallery, options):
        names = [tasks[subject.task], *([models[subject.model]] if len(models) > 1 else [])]
        label = re.sub(r"[^\w.+=-]+", "-", "-".join(names)).strip("-")  # it is part of a file's name
        gallery.add(drift_figure(insight.trails, points=options.points, label=label))
        tied.update([subject.model] if insight.trails.tied else [])
        if insight.clouds is not None:
            clouds.append(insight.clouds)
        else:
            gallery.lacks(f"figure 5 of {subject.name}", insight.lack)
    if clouds:
        gallery.add(clouds_figure(clouds, points=options.points))
    return tied


def insights(
    found: Sequence[Subject], gallery: Gallery, options: argparse.Namespace
) -> Iterator[tuple[Subject, Insight]]:
    """Loads each model in turn and looks inside its teams; a model that can't be loaded costs its own figures."""
    from transformers.utils.logging import disable_progress_bar

    from jobs.inside import look_inside, team_of
    from pipeline.checkpoints import check_model
    from pipeline.engine import load_model

    disable_progress_bar()  # it would get into the way of what is said here
    for model in dict.fromkeys(subject.model for subject in found):
        same = [subject for subject in found if subject.model == model]
        config = team_of(same[0].latent)[0].model
        sys.stderr.write(f"figures 5 and 6: loading {options.model or model}\n")
        try:
            lm = load_model(replace(config, model=check_model(options.model or model)))
        except ValueError as error:
            if options.model is not None:
                raise
            gallery.lacks(f"figures 5 and 6 with {model}", f"{error} (--model says where it is now)")
            continue
        yield from zip(same, look_inside(same, lm, questions=options.questions), strict=True)


def log(gallery: Gallery, files: Sequence[Path], tracking_uri: str | None) -> None:
    """Logs the figures; a tracker that does not work costs a warning."""
    from pipeline.runtime.cluster import base_dir
    from pipeline.tracking import choose_store, log_files

    store = choose_store(tracking_uri, base_dir())
    numbers = {one.name: one.numbers for one in gallery.drawings}
    fault = log_files(
        store,
        files,
        experiment=EXPERIMENT,
        name=gallery.folder.resolve().name,
        tags={"kind": "analysis"},
        metrics=numbers,
    )
    if fault:
        sys.stderr.write(f"warning: the figures are not in MLflow ({store.shown}): {fault}\n")


if __name__ == "__main__":
    sys.exit(main())
