"""One table in every format: what is markup in it stays text, and all formats hold the same numbers."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compared import measured, reported, three_methods
from finished import finished_run, rows_of
from pipeline.reports import compare_runs, latex, markdown, report_on
from pipeline.reports.figures import Drawing
from pipeline.reports.grid import Cell, Grid, Row, columns_of, row_of_texts, told_once
from pipeline.reports.page import as_page
from pipeline.reports.published import Literature
from pipeline.reports.setups import commands, setups_grid
from pipeline.reports.terminal import terminal_table

HOSTILE = "a_b & 50%|<b>$x$</b> #{1} \\~^[red]*`.jsonl"
"""A task's name in which every format has something that it would take for markup."""

VOID = {"meta", "br"}
GRID = Grid(
    title="Sums & more",
    caption="How to read it.",
    columns=columns_of(("Task",), ("Acc. %",)),
    rows=(
        Row(
            cells=(Cell(text="gsm8k", interval="n = 3"), Cell(text="95.4", bold=True, mark="†", interval="[1, 2]")),
            begins=True,
        ),
        Row(cells=(Cell(), Cell(text="×5.6", notes=("p < 0.0001",), paper="↓76.0 %"))),
    ),
)


class Page(HTMLParser):
    """Reads a page and holds that every element is closed in its turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


def drawing(**changes):
    svg = (
        '<?xml version="1.0"?>\n<!DOCTYPE svg>\n<svg xmlns="http://www.w3.org/2000/svg">'
        '<defs><path id="p1" d="M0 0"/></defs>'
        '<g clip-path="url(#p1)"><use href="#p1"/></g></svg>'
    )
    told = {"name": "figure-4", "title": "Speed", "caption": "n = 4 & few", "png": b"", "svg": svg, "csv": ""}
    return Drawing(**{**told, **changes})


def hostile_report():
    runs = [
        measured(f"<i>{run.name}</i>", [True, False], 5, 5, task=HOSTILE, method=run.metrics.method)
        for run in three_methods()
    ]
    return reported(runs)


def test_markdown_has_a_table_with_its_title_and_caption():
    assert markdown.as_markdown([GRID], ["x & y"]) == (
        "### Sums \\& more\n\n"
        "| Task | Acc. % |\n"
        "| --- | ---: |\n"
        "| gsm8k<br>n = 3 | **95.4†**<br>[1, 2] |\n"
        "|  | ×5.6<br>p \\< 0.0001<br>paper ↓76.0 % |\n\n"
        "How to read it.\n\n"
        "- note: x \\& y\n"
    )


def test_markdown_lets_names_be_names():
    assert markdown.escaped("gsm_8k [42.5, 66.9] arc_easy") == "gsm_8k [42.5, 66.9] arc_easy"
    assert markdown.escaped("_a_ *b* `c` <d> |e| f\ng [h](i)") == r"\_a\_ \*b\* \`c\` \<d\> \|e\| f g [h\](i)"


@given(st.lists(st.text(max_size=12), min_size=2, max_size=2))
def test_a_row_of_markdown_has_as_many_cells_as_columns_whatever_they_hold(words):
    grid = Grid(title="t", columns=columns_of(("a", "b"), ()), rows=(row_of_texts(tuple(words)),))
    lines = markdown.as_markdown([grid]).splitlines()
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines[2:]} == {3}


def test_a_caption_that_tables_share_is_told_below_the_last():
    assert markdown.as_markdown([GRID, GRID]).count("How to read it.") == 1
    assert [grid.caption for grid in told_once([GRID, GRID])] == ["", "How to read it."]


def test_latex_has_a_table_that_needs_booktabs_alone():
    assert latex.as_latex([GRID], ["100% sure\nof it"]) == (
        "% Made by jobs/compare.py. The preamble needs \\usepackage{booktabs}.\n\n"
        "\\begin{table}[tp]\n"
        "\\centering\\footnotesize\\setlength{\\tabcolsep}{3pt}\n"
        "\\caption{Sums \\& more. How to read it.}\n"
        "\\label{tab:sums-more}\n"
        "\\begin{tabular}{p{6.5em}r}\n"
        "\\toprule\n"
        "Task & Acc. \\% \\\\\n"
        "\\midrule\n"
        "\\raggedright gsm8k & \\textbf{95.4}$^{\\dagger}$ \\\\\n"
        "{\\scriptsize n = 3} & {\\scriptsize {[}1, 2{]}} \\\\\n"
        "\\raggedright  & $\\times$5.6 \\\\\n"
        " & {\\scriptsize p $<$ 0.0001} \\\\\n"
        " & {\\scriptsize paper $\\downarrow$76.0 \\%} \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
        "\\end{table}\n\n"
        "% note: 100% sure of it\n"
    )


def test_latex_sets_every_special_character_as_it_is():
    assert latex.escaped("a_b & 50% #1 $2 {3} ~^\\") == (
        r"a\_b \& 50\% \#1 \$2 \{3\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert latex.escaped('--x "y" `z` |w|') == r"-{}-x ''y'' \textasciigrave{}z\textasciigrave{} $|$w$|$"
    assert latex.escaped("é 中 [-5.0, +1]") == "é {[}U+4E2D{]} {[}$-$5.0, +1{]}"


@given(st.text(max_size=30))
def test_whatever_a_name_holds_latex_stays_balanced_and_has_no_stray_signs(text):
    written = latex.escaped(text)
    assert all(known == " " or known.isprintable() for known in written)
    bare = re.sub(r"\\[{}$&#_%]", "", written)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[&#_%~]", bare)
    assert set(re.findall(r"\\([a-z]+)", bare)) <= {
        *("textbackslash", "textasciitilde", "textasciicircum", "textasciigrave", "textendash"),
        *("dagger", "times", "pm", "downarrow", "uparrow", "geq"),
    }


def test_every_row_of_latex_has_as_many_cells_as_columns():
    lines = hostile_report().latex().splitlines()
    rows = [line for line in lines if line.endswith(r"\\")]
    assert len(rows) == 1 + 3 + 3  # heads, three measures, three lines below the accuracies
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {5}


def test_csv_has_a_row_for_every_number():
    report = reported(three_methods())
    rows = list(csv.DictReader(io.StringIO(report.csv())))
    assert len(rows) == 9 + 4  # three of each method; two gains of accuracy, tokens saved and the speed-up
    [saved] = [row for row in rows if row["metric"] == "tokens_saved"]
    assert (saved["method"], saved["against"], saved["unit"]) == ("latent_mas", "text_mas", "%")
    assert float(saved["value"]) == pytest.approx(100 * (1 - 581 / 2420)) == pytest.approx(float(saved["paper"]))
    [accuracy] = [row for row in rows if row["metric"] == "accuracy" and row["method"] == "single"]
    assert (accuracy["task"], accuracy["graph"], accuracy["model"]) == ("arc_easy", "sequential", "Qwen/Qwen3-4B")
    assert (float(accuracy["value"]), float(accuracy["paper"]), accuracy["n"]) == (50, 95.4, "10")
    assert float(accuracy["low"]) < 50 < float(accuracy["high"])


def test_csv_keeps_names_whole():
    rows = list(csv.DictReader(io.StringIO(hostile_report().csv())))
    assert {row["task"] for row in rows} == {HOSTILE.rsplit("/", 1)[-1].rsplit("\\", 1)[-1]}


def test_the_page_is_well_formed_and_asks_for_nothing():
    page = Page(as_page(hostile_report(), [drawing(), drawing()], command="python jobs/compare.py '<x>'"))
    assert page.open == []
    assert "script" not in page.tags
    assert not [one for one in page.attributes if one[1] in ("src", "href") and not one[2].startswith("#")]
    assert not [one for one in page.attributes if one[1].startswith("on")]
    assert page.tags.count("svg") == 2
    words = "".join(page.words)
    assert "<i>latent</i>" in words
    assert "python jobs/compare.py '<x>'" in words
    assert "n = 4 & few" in words
    assert "@import" not in words
    assert "url(" not in words


def test_pictures_of_a_page_do_not_share_names():
    text = as_page(reported(three_methods()), [drawing(), drawing()], command="c")
    assert re.findall(r'id="(\S+?)"', text) == ["f0-p1", "f1-p1"]
    assert re.findall(r'href="#(\S+?)"', text) == re.findall(r"url\(#(\S+?)\)", text) == ["f0-p1", "f1-p1"]


def test_the_page_shows_notes_tables_and_what_was_run():
    single, text, latent = three_methods()
    other = finished_run(
        "other", rows_of([True]), task="gsm8k", latent_steps=5, method="latent_mas", chat_options={"a": 1}
    )
    report = reported([single, text, latent, other])
    page = Page(as_page(report, [], command="c"))
    words = "".join(page.words)
    assert "other: not paired" in words
    assert "Sequential, Qwen3-4B" in words
    assert page.tags.count("table") == len(report.paper) + 1 + 1 + 1  # pairs, all runs, what was run
    assert page.tags.count("figure") == 0
    assert "--task gsm8k" in words


def test_what_was_run_names_settings_seeds_and_code():
    runs = [
        finished_run(f"r{seed}", rows_of([True]), method="latent_mas", seed=seed, dtype="float32") for seed in (0, 1)
    ]
    [line] = setups_grid(runs).rows
    told = dict(
        zip([column.title for column in setups_grid(runs).columns], [cell.text for cell in line.cells], strict=True)
    )
    assert (told["Method"], told["m"], told["Seeds"], told["Runs"]) == ("LatentMAS", "10", "0, 1", "r0, r1")
    assert (told["Most tokens"], told["Sampling"], told["Other settings"]) == ("2048", "0.6 / 0.95", "dtype float32")
    assert told["When"] == "1970-01-01 00:00 to 00:00"


def test_commands_hold_the_settings_that_are_not_the_default():
    run = finished_run("r", rows_of([True]), task="a b.jsonl", chat_options={"x": False}, limit=3)
    assert commands([run, run]) == (
        "python jobs/eval.py --method single --task 'a b.jsonl' --limit 3 --model embedded "
        "--chat-options '{\"x\": false}' --max-new-tokens 2048",
    )


def test_the_terminal_takes_no_name_for_markup():
    table = terminal_table(Grid(title="[red]t", columns=columns_of(("a",), ()), rows=(row_of_texts(("[bold]x[/]",)),)))
    assert [str(cell) for cell in table.columns[0].cells] == ["[bold]x[/]"]
    assert str(table.title) == "[red]t"


def test_a_report_without_the_papers_numbers_says_nothing_of_them():
    report = report_on(compare_runs(three_methods()), Literature())
    assert "paper " not in report.markdown().replace("the paper", "")
