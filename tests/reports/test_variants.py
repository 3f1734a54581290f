"""What tells runs of one method apart, and how they are called."""

from hypothesis import given, settings
from hypothesis import strategies as st

from finished import finished_run, rows_of
from pipeline.reports.variants import essence, label_pieces, newest_of_each, tails, variants

SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "latent_steps": st.sampled_from([1, 10, 20, 80]),
        "memory": st.sampled_from(["real", "shuffled", "none"]),
        "handover": st.sampled_from(["full", "thoughts", "prompt"]),
        "alignment": st.sampled_from(["ridge", "identity", "random"]),
        "temperature": st.sampled_from([0, 0.0, 0.6, 1]),
        "top_p": st.sampled_from([0.5, 0.95, 1]),
        "max_new_tokens": st.sampled_from([64, 2048]),
        "dtype": st.sampled_from(["auto", "float32"]),
        "chat_options": st.sampled_from([{}, {"enable_thinking": False}, {"enable_thinking": True}]),
    },
)


def latent(name="r", outcomes=(True, False), **settings):
    return finished_run(name, rows_of(list(outcomes)), **{"method": "latent_mas", **settings})


@settings(deadline=None, max_examples=40)
@given(st.lists(SETTINGS, min_size=1, max_size=8))
def test_no_two_ways_to_run_a_method_share_a_label(many):
    found = variants([latent(f"r{place}", **chosen) for place, chosen in enumerate(many)])
    labels = [variant.label for variant in found]
    assert len(set(labels)) == len(labels)
    kept = {str(sorted(essence(variant.first).items(), key=str)) for variant in found}
    assert len(kept) == len(labels)


@settings(deadline=None, max_examples=40)
@given(st.lists(SETTINGS, min_size=1, max_size=8))
def test_controls_are_always_told_and_come_last(many):
    found = variants([latent(f"r{place}", **chosen) for place, chosen in enumerate(many)])
    controlled = [variant.controlled for variant in found]
    assert controlled == sorted(controlled)
    for variant in found:
        for name, plain in {"memory": "real", "handover": "full", "alignment": "ridge"}.items():
            value = variant.first.settings[name]
            assert (f"{name} {value}" in variant.label) == (value != plain)


def test_labels_say_no_more_than_what_tells_apart():
    runs = [latent("a", latent_steps=20, top_p=0.5), latent("b", top_p=0.5), latent("c", top_p=0.5, latent_steps=0)]
    assert [variant.label for variant in variants(runs)] == ["", "m=0", "m=20"]
    assert [variant.label for variant in variants(runs[:1])] == [""]


def test_settings_that_a_method_does_not_use_tell_nothing_apart():
    alone = [finished_run(f"s{m}", rows_of([True]), latent_steps=m, alignment="random") for m in (1, 10)]
    [variant] = variants(alone)
    assert variant.label == ""
    greedy = [latent(f"g{p}", temperature=0, top_p=p) for p in (0.5, 1)]
    assert len(variants(greedy)) == 1


def test_seeds_are_one_variant_and_the_same_seed_counts_once():
    [variant] = variants([latent("a", seed=2), latent("b", seed=1), latent("c", seed=2)])
    assert [run.name for run in variant.runs] == ["a", "b"]
    assert variant.seeds == (2, 1)


def test_other_questions_are_told_by_their_number_or_as_sets():
    few, many = latent("few", [True]), latent("many", [True, False])
    other = finished_run("other", rows_of([True, False], first=7), method="latent_mas")
    assert [v.label for v in variants([few, many])] == ["n=1", "n=2"]
    assert sorted(v.label for v in variants([few, many, other])) == ["n=1", "n=2 (set 1)", "n=2 (set 2)"]


def test_the_first_of_runs_with_the_same_settings_and_seed_is_kept():
    runs = [latent("new"), latent("seed", seed=1), latent("old"), latent("m", latent_steps=3)]
    assert [run.name for run in newest_of_each(runs)] == ["new", "seed", "m"]


def test_pieces_name_settings_as_users_know_them():
    told = [{"latent_steps": 20, "max_new_tokens": 64, "chat_options": {"b": 1, "a": None}}, {"latent_steps": 10}]
    assert label_pieces(told) == [("m=20", "max new tokens 64", 'chat options {"a": null, "b": 1}'), ()]


def test_short_names_are_the_last_parts_that_tell_apart():
    assert tails(["Qwen/Qwen3-4B", "/m/tiny", "/n/tiny", "embedded"]) == {
        "Qwen/Qwen3-4B": "Qwen3-4B",
        "/m/tiny": "m/tiny",
        "/n/tiny": "n/tiny",
        "embedded": "embedded",
    }


@given(st.lists(st.text(alphabet="ab/\\", max_size=6), max_size=6))
def test_short_names_are_unique(names):
    found = tails(names)
    assert len(set(found.values())) == len(found) == len(set(names))
