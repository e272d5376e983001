"""Figures show what the arrays hold, in any backend, and change nothing but their own axes."""

import sys
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

from sim import plots, sweep  # noqa: E402
from sim.history import History  # noqa: E402
from sim.plots.lines import PlotError  # noqa: E402
from sim.plots.network import edge_lines  # noqa: E402
from topology import Schedule, from_edges, named  # noqa: E402
from topology.forecasting import forecast  # noqa: E402


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


def history(topology="torus", agents=16, evaluations=30, training=True, **facts):
    """A run that trains, or one that follows its forecast."""
    rng = np.random.default_rng(0)
    rounds = np.arange(evaluations, dtype=np.float64)
    network = named(topology, agents)
    edges = (network.graphs[-1] if isinstance(network, Schedule) else network).edges
    facts = {"topology": topology, "agents": agents, "alpha": 0.5, "protocol": "exchange", "seed": 0} | facts
    facts = {"local_steps": 5 if training else 0} | facts
    nothing = np.full(evaluations, np.nan)
    accuracy = 1 - np.exp(-rounds[:, None] / 9) * rng.uniform(0.8, 1, (evaluations, agents))
    if training:
        distance = rounds / (1 + rounds)
    else:
        distance = 7 * np.sqrt(forecast(topology, agents, protocol=facts["protocol"]).squared_distance(rounds))
    return History(
        rounds=rounds,
        consensus_distance=distance,
        accuracy=accuracy if training else np.full_like(accuracy, np.nan),
        loss=1 - accuracy if training else np.full_like(accuracy, np.nan),
        consensus_accuracy=accuracy.max(axis=1) if training else nothing,
        consensus_loss=1 - accuracy.max(axis=1) if training else nothing,
        mean_drift=rounds,
        bytes=(rounds * agents * 1e5).astype(np.int64),
        exchanges=(rounds * agents).astype(np.int64),
        theta=rng.standard_normal((agents, 20)).astype(np.float32),
        facts=facts,
        edges=edges,
    )


def rendered(ax):
    """Draw it as PNG and PDF, with warnings as errors."""
    for kind in ("png", "pdf"):
        ax.figure.savefig(BytesIO(), format=kind)
    return ax


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def test_accuracy_shows_mean_band_and_merged_model():
    run = history()
    drawn = lines(rendered(plots.accuracy(run)))
    np.testing.assert_allclose(drawn["mean of agents"].get_ydata(), run.accuracy.mean(axis=1))
    np.testing.assert_array_equal(drawn["merged model"].get_ydata(), run.consensus_accuracy)


def test_a_figure_draws_into_the_axes_it_is_given():
    _, ax = plt.subplots()
    for draw in (plots.accuracy, plots.loss, plots.consensus, plots.bytes_to_accuracy, plots.disagreement):
        assert draw(history(), ax) is ax
    assert len(plt.get_fignums()) == 1


def test_consensus_overlays_the_forecast_where_the_facts_allow():
    run = history("ring", training=False, rule="parameters", codec="float32", choose="uniform", private="")
    ax = rendered(plots.consensus(run))
    dashed = [line for line in ax.get_lines() if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(dashed) == 1
    np.testing.assert_allclose(dashed[0].get_ydata(), run.consensus_distance, rtol=1e-9)
    assert "forecast, random times" in lines(ax)
    run.facts["clock"] = "poisson"
    assert "forecast" in lines(plots.consensus(run))
    assert not lines(plots.consensus(run, forecast=False))


@pytest.mark.parametrize(
    "facts",
    [
        {"training": True},
        {"delay": 0.5},
        {"drop": 0.1},
        {"online": 0.8},
        {"speeds": [1, 2]},
        {"protocol": "push"},
        {"topology": "a graph of my own"},
        {"codec": "segments:1/5"},
        {"choose": "roundrobin"},
        {"submodel": "width:2"},
        {"private": "output/*"},
        {"virtual": True},
        {"rule": "prox:0.01+accelerated"},
    ],
)
def test_no_forecast_where_it_does_not_hold(facts):
    training = facts.pop("training", False)
    run = history(training=training)
    run.facts.update(facts)
    assert not lines(plots.consensus(run))


def test_an_exact_finish_does_not_stretch_the_axis():
    run = history("one-peer-exponential", training=False, protocol="synchronous")
    ax = rendered(plots.consensus(run))
    low, high = ax.get_ylim()
    assert low > 1e-10 * high


def test_a_start_from_one_vector_does_not_stretch_the_axis():
    run = history()
    run.consensus_distance[0] = 1e-8
    ax = rendered(plots.consensus(run))
    assert ax.get_ylim()[0] > 0.1
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), run.rounds[1:])


def test_runs_are_named_by_what_differs():
    ax = plots.consensus([history("ring"), history("torus")])
    assert list(lines(ax)) == ["ring", "torus"]
    assert list(lines(plots.consensus([history(alpha=0.5), history(alpha=0.7)]))) == ["alpha 0.5", "alpha 0.7"]
    assert list(lines(plots.consensus([history(), history()]))) == ["run 0", "run 1"]
    assert list(lines(plots.bytes_to_accuracy({"a": history(), "b": history()}))) == ["a", "b"]


def test_bytes_to_accuracy_begins_where_bytes_do():
    run = history()
    ax = rendered(plots.bytes_to_accuracy(run))
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), run.bytes[1:])
    assert "10 MB" in [text.get_text() for text in ax.get_xticklabels()]


@pytest.mark.parametrize(
    ("topology", "agents"),
    [
        *[("torus", 12), ("grid", 9), ("path", 7), ("ring", 1), ("ring", 2), ("star", 9), ("regular:4", 30)],
        *[("exponential", 20), ("matching", 8), ("erdos-renyi:0.05", 40), ("hypercube", 16), ("base:2", 9)],
    ],
)
def test_every_topology_is_drawn_with_each_agent_by_its_distance(topology, agents):
    run = history(topology, agents)
    ax = rendered(plots.disagreement(run))
    dots = ax.collections[-1]
    np.testing.assert_allclose(dots.get_array(), np.linalg.norm(run.theta - run.theta.mean(axis=0), axis=1))
    where = plots.layout(run)
    assert where.shape == (agents, 2) and np.isfinite(where).all()
    assert len(np.unique(where.round(6), axis=0)) == agents, "no two agents in one place"


def test_a_torus_lies_on_its_grid_and_its_border_edges_are_stubs():
    run = history("torus", 12)
    where = plots.layout(run)
    assert len(np.unique(where[:, 0].round(9))) == 4 and len(np.unique(where[:, 1].round(9))) == 3
    lengths = [np.linalg.norm(b - a) for a, b in edge_lines(run, where)]
    assert max(lengths) <= np.linalg.norm(where[1] - where[0]) + 1e-9


def test_without_networkx_a_circle_will_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    assert np.allclose(np.linalg.norm(plots.layout(history("regular:4", 30)), axis=1), 0.5)


def test_overview_has_the_panels_that_there_is_something_to_show_for():
    assert [ax.get_ylabel() for ax in history().plot()][:3] == ["test accuracy", "test loss", "consensus distance"]
    untrained = history(training=False).plot()
    assert len(untrained) == 2 and untrained[0].get_ylabel() == "consensus distance"
    rendered(untrained[0])
    assert history("ring", 500, 3).plot()[-1].get_ylabel() == "drift of the mean"


def test_overview_of_one_agent_and_one_evaluation():
    rendered(history("ring", 1, 1, training=False).plot()[0])
    rendered(history("ring", 1, 9, training=False).plot()[0])
    run = history("ring", 1, 1)
    rendered(run.plot()[0])


def test_compare_has_one_legend_for_all_panels():
    runs = {name: history(name) for name in ("ring", "torus", "exponential")}
    axes = plots.compare(runs)
    assert len(axes) == 3
    assert [text.get_text() for text in axes[0].figure.legends[0].get_texts()] == list(runs)
    rendered(axes[0])
    assert len(plots.compare([history(training=False), history("ring", training=False)])) == 1


def colors_of(ax):
    drawn = [line.get_color() for line in ax.get_lines()]
    return {color if isinstance(color, str) else tuple(color) for color in drawn}


def test_more_settings_than_named_colors_stay_apart():
    assert len(colors_of(plots.consensus([history(alpha=alpha / 10) for alpha in range(9)]))) == 9


def seeds_of(count=5, **facts):
    """Runs of one setting: the same but for the seed, and farther from agreeing with each."""
    runs = [history(seed=seed, seconds=1.0 + seed, **facts) for seed in range(count)]
    for run in runs:
        run.consensus_distance[:] *= 1 + run.facts["seed"]
        run.consensus_accuracy[:] /= 1 + run.facts["seed"]
    return runs


def bands(ax):
    """Those that cover something: one without extent stands for them in the legend."""
    return [band for band in ax.collections if len(band.get_paths())]


def test_seeds_of_one_setting_are_one_line_with_a_band():
    runs = seeds_of()
    ax = plots.consensus(runs)
    (line,) = [line for line in ax.get_lines() if len(line.get_xdata())]
    np.testing.assert_allclose(line.get_ydata(), 3 * runs[0].consensus_distance[1:])
    (band,) = bands(ax)
    assert band.get_paths()[0].vertices[:, 1].max() == pytest.approx(5 * runs[0].consensus_distance[-1])
    assert "5 seeds, least to most" in ax.get_legend_handles_labels()[1]


@pytest.mark.parametrize("draw", [plots.consensus, plots.merged_accuracy, plots.bytes_to_accuracy])
def test_twenty_runs_of_four_settings_are_four_colors(draw):
    runs = [run for alpha in (0.2, 0.4, 0.6, 0.8) for run in seeds_of(alpha=alpha)]
    ax = draw(runs)
    assert len(colors_of(ax)) == 4 and len(bands(ax)) == 4
    assert list(lines(ax)) == ["alpha 0.2", "alpha 0.4", "alpha 0.6", "alpha 0.8"]


def test_the_same_run_twice_is_no_band():
    assert not bands(plots.consensus([history(), history()]))


def test_runs_under_one_label_are_one_line_and_must_be_evaluated_at_the_same_rounds():
    ax = plots.consensus({"ours": seeds_of(), "theirs": history()})
    assert list(lines(ax)) == ["ours", "theirs"] and len(bands(ax)) == 1
    with pytest.raises(PlotError, match="evaluated at the same rounds"):
        plots.consensus({"ours": [history(), history(evaluations=9)]})
    with pytest.raises(PlotError, match="got none"):
        plots.consensus({"ours": []})


@pytest.mark.parametrize("nothing", [[], {}, ()], ids=repr)
@pytest.mark.parametrize("draw", [plots.consensus, plots.compare, plots.bytes_to_accuracy])
def test_a_figure_of_no_run_is_refused(draw, nothing):
    with pytest.raises(PlotError, match="at least one run: got none"):
        draw(nothing)


@pytest.mark.parametrize("given", [1, "ring", [history(), 0.5], {"ours": 0.5}], ids=["number", "text", "list", "label"])
def test_what_is_no_run_is_named(given):
    with pytest.raises(PlotError, match="a run is what `simulate` returns: got"):
        plots.consensus(given)


def test_what_sweep_returns_is_compared_by_setting():
    """Also where the setting is no fact of a run, which the keys then distinguish."""
    found = {(alpha, seed): run for alpha in (0.3, 0.7) for seed, run in enumerate(seeds_of(3, alpha=alpha))}
    axes = plots.compare(found)
    texts = [text.get_text() for text in axes[0].figure.legends[0].get_texts()]
    assert texts == ["alpha 0.3", "alpha 0.7", "3 seeds, least to most"]
    assert all(len(bands(ax)) == 2 for ax in axes)
    rendered(axes[0])
    chunks = {(chunk, seed): run for chunk in (1, 2) for seed, run in enumerate(seeds_of(3))}
    assert len(colors_of(plots.consensus(chunks))) == 2
    alone = plots.compare({(seed,): run for seed, run in enumerate(seeds_of(3))})
    assert [text.get_text() for text in alone[0].figure.legends[0].get_texts()] == ["3 seeds, least to most"]


def test_a_real_sweep_is_compared():
    found = sweep(
        "digits", seeds=[0, 1], topology=["ring", "complete"], agents=4, rounds=6, eval_every=2, progress=False
    )
    axes = plots.compare(found)
    assert list(lines(axes[0])) == ["ring", "complete"] and len(bands(axes[0])) == 2
    rendered(axes[0])


@pytest.mark.parametrize("name", ["Graph", "a graph of my own", "csr_array"])
def test_a_graph_of_ones_own_is_laid_out_by_its_edges(name):
    """A star's center lies between its neighbors, wherever it stands among the numbers; on a circle it would not."""
    hub = from_edges(9, [(4, other) for other in range(9) if other != 4])
    run = replace(history("ring", 9), edges=hub.edges, facts={"topology": name})
    where = plots.layout(run)
    np.testing.assert_allclose(where[4], np.delete(where, 4, 0).mean(0), atol=0.05)
    rendered(plots.disagreement(run))


def test_any_metric_of_a_task_can_be_drawn():
    run = history()
    run = replace(run, metrics={"top3": run.accuracy / 2}, consensus_metrics={"top3": run.consensus_accuracy / 2})
    ax = rendered(plots.metric(run, "top3"))
    np.testing.assert_array_equal(lines(ax)["merged model"].get_ydata(), run.consensus_accuracy / 2)
    assert ax.get_ylabel() == "test top3"


def test_no_global_setting_changes():
    before = dict(matplotlib.rcParams)
    history().plot()
    plots.compare([history(), history("ring")])
    assert dict(matplotlib.rcParams) == before


def test_tick_labels_keep_their_size_when_drawn_later():
    with matplotlib.rc_context({"xtick.labelsize": 30, "ytick.labelsize": 30}):
        ax = rendered(plots.accuracy(history()))
        assert {label.get_size() for label in ax.get_xticklabels() + ax.get_yticklabels()} == {7}


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.style", None)
    with pytest.raises(ImportError, match=r"matplotlib is missing: pip install gossamer\[notebooks\]"):
        plots.accuracy(history())
