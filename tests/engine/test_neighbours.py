"""The objective "neighbours": hypercolumns, the search for the nearest places, and features of a painting."""

from __future__ import annotations

import dataclasses
import types

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from impasto_server.engine import (
    Recipe,
    RecipeError,
    Region,
    Scene,
    Session,
    Style,
    TargetCache,
    evaluation,
    graphs,
    matching,
    neighbours,
)
from impasto_server.engine import session as sessions
from impasto_server.engine.hypercolumns import (
    APART,
    TOGETHER,
    Inner,
    at_places,
    rows_of,
    term_of,
)
from impasto_server.engine.matching import index_of, nearest, projected
from impasto_server.engine.network import Network
from impasto_server.engine.objectives import objective
from impasto_server.engine.objectives.neighbours import LAYERS
from impasto_server.engine.windows import whole
from support.plain_network import plain_features
from support.random_networks import picture, random_weights

CONTENT, STYLE = picture(72, 56, 1), picture(64, 80, 2)


def session(network, recipe=None, styles=(STYLE,), *, cache=None, memory_bytes=None, **scene):
    given = {"content": CONTENT, "styles": [Style(style) for style in styles], **scene}
    recipe = Recipe(**{"objective": "neighbours", "evaluations": 6, **(recipe or {})})
    return Session(recipe, Scene(**given), network, cache=cache, memory_bytes=memory_bytes)


def painted(made):
    list(made)
    return np.asarray(made.picture()).astype(int)


def finished(work):
    """Runs a generator to its end and returns its result."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def flat(color):
    return Image.new("RGB", (64, 64), color)


def half(left, width=72, height=56):
    mask = Image.new("L", (width, height), 0 if left else 255)
    mask.paste(255 if left else 0, (0, 0, width // 2, height))
    return mask


@pytest.fixture(scope="module")
def network64():
    return Network(random_weights("vgg16")).double()


class TestHypercolumns:
    @pytest.mark.parametrize("groups", [TOGETHER, APART])
    @pytest.mark.parametrize(("height", "width", "margin"), [(48, 64, 0), (61, 83, 16), (39, 72, 8)])
    def test_loss_and_gradient_equal_those_of_concatenated_hypercolumns(
        self, network64, height, width, margin, groups
    ):
        generator = torch.Generator().manual_seed(0)
        image, other = (
            torch.randn(1, 3, height, width, generator=generator, dtype=torch.float64) for _ in "ab"
        )
        inner = Inner(height, width, margin)
        border = margin // 4

        def columns(features, layers):
            maps = [
                at_places(features[layer], layer)[
                    :, :, border : border + inner.rows, border : border + inner.columns
                ]
                / features[layer].shape[1]
                for layer in layers
            ]
            return torch.cat(maps, 1)[0].flatten(1).T

        of_other = network64(other, LAYERS)
        targets = [F.normalize(columns(of_other, group).detach(), dim=1) for group in groups]
        image.requires_grad_(True)
        seen = plain_features(network64, image, LAYERS)
        expected = torch.stack(
            [
                (1 - F.cosine_similarity(columns(seen, group), target)).mean()
                for group, target in zip(groups, targets, strict=True)
            ]
        ).mean()
        (expected_gradient,) = torch.autograd.grad(expected, image)

        channels = [network64.channels(layer) for layer in LAYERS]
        term = term_of(torch.cat(targets, 1), inner, channels, groups)
        trunk = network64.trunk(image, LAYERS)
        observation = term.observe(trunk.features, whole(height, width))
        value = term.value(observation.statistic)
        of_sum = term.value(torch.ones_like(value))
        gradient = trunk.gradient(
            lambda layer, features, gradient: observation.add_gradient(layer, features, of_sum, gradient)
        )
        assert abs(value - expected) < 1e-12
        assert (gradient - expected_gradient).norm() < 1e-10 * expected_gradient.norm()

    @pytest.mark.slow
    def test_tiles_give_the_same_hypercolumns_as_the_whole_image(self, network64):
        image = torch.randn(1, 3, 150, 203, dtype=torch.float64)
        ((numbers, rows),) = rows_of(network64, image, margin=16, padding="reflect")
        assert numbers.tolist() == list(range(Inner(150, 203, 16).count))
        tiled = torch.empty_like(rows)
        for numbers, piece in rows_of(network64, image, margin=16, padding="reflect", tile_side=64):
            tiled[numbers] = piece
        assert (tiled - rows).abs().max() < 1e-12


class TestSearch:
    def exact(self, style, picture, allowed=None):
        """Returns all centred cosines and the nearest places, without any shortcut."""
        counted = style if allowed is None else style[allowed]
        style = F.normalize(style - counted.mean(0), dim=1)
        cosines = F.normalize(picture - picture.mean(0), dim=1) @ style.T
        if allowed is not None:
            cosines[:, ~allowed] = -1
        return cosines, cosines.argmax(1)

    def found(self, style, picture, grid, allowed=None):
        rows = [(torch.arange(len(style)), style)]
        whole_rows = [slice(None)]
        index = finished(index_of(lambda: iter(rows), grid, allowed, columns=whole_rows, dimensions=256))
        query = finished(projected(index, iter([(torch.arange(len(picture)), picture)])))
        return torch.cat(list(nearest(index, [of_part - of_part.mean(0) for of_part in query])))[:, 0]

    def test_it_finds_the_largest_centred_cosine(self):
        generator = torch.Generator().manual_seed(1)
        style, picture = (torch.randn(n, 40, generator=generator, dtype=torch.float64) + 3 for n in (300, 90))
        assert torch.equal(self.found(style, picture, (15, 20)), self.exact(style, picture)[1])

    def test_each_part_finds_its_own_nearest_place(self):
        generator = torch.Generator().manual_seed(1)
        style, picture = (torch.randn(n, 40, generator=generator, dtype=torch.float64) + 3 for n in (300, 90))
        columns = [slice(0, 8), slice(8, 11), slice(11, 40)]
        work = index_of(lambda: iter([(torch.arange(300), style)]), (15, 20), columns=columns, dimensions=29)
        index = finished(work)
        query = finished(projected(index, iter([(torch.arange(90), picture)])))
        found = torch.cat(list(nearest(index, [of_part - of_part.mean(0) for of_part in query])))
        for number, of_part in enumerate(columns):
            assert torch.equal(found[:, number], self.exact(style[:, of_part], picture[:, of_part])[1])

    def test_it_finds_the_first_of_equal_places(self):
        generator = torch.Generator().manual_seed(1)
        few = torch.randn(7, 40, generator=generator, dtype=torch.float64)
        style = few.repeat(30, 1)
        found = self.found(style, few, (15, 14))
        assert found.tolist() == list(range(7))
        allowed = torch.arange(210) >= 14
        assert self.found(style, few, (15, 14), allowed).tolist() == list(range(14, 21))

    def test_it_finds_only_allowed_places(self):
        generator = torch.Generator().manual_seed(2)
        style, picture = (torch.randn(n, 40, generator=generator, dtype=torch.float64) for n in (300, 90))
        allowed = torch.rand(300, generator=generator) < 0.1
        found = self.found(style, picture, (15, 20), allowed)
        assert allowed[found].all()
        assert torch.equal(found, self.exact(style, picture, allowed)[1])

    def test_the_search_of_a_large_style_ends_near_the_nearest_place(self, monkeypatch):
        # The features vary smoothly from place to place, as in paintings.
        generator = torch.Generator().manual_seed(3)
        coarse = torch.randn(1, 24, 8, 8, generator=generator, dtype=torch.float64)
        style = F.interpolate(coarse, (40, 48), mode="bicubic")[0].flatten(1).T
        picture = F.interpolate(coarse.flip(3), (21, 30), mode="bicubic")[0].flatten(1).T
        monkeypatch.setattr(matching, "CANDIDATES", 200)
        cosines, best = self.exact(style, picture)
        found = self.found(style, picture, (40, 48))
        lost = cosines.gather(1, best[:, None]) - cosines.gather(1, found[:, None])
        assert 0 <= lost.mean() < 0.01
        assert (found == best).double().mean() > 0.5

    @pytest.mark.parametrize("grid", [(1, 1), (1, 70), (3, 2)])
    def test_tiny_styles_can_be_searched(self, grid):
        style = torch.randn(grid[0] * grid[1], 8)
        found = self.found(style, torch.randn(5, 8), grid)
        assert ((found >= 0) & (found < len(style))).all()


class TestPaintings:
    def test_each_region_takes_its_own_style_with_soft_edges(self, network):
        styles = [flat((220, 30, 30)), flat((30, 30, 220))]
        regions = [Region(half(True), 1), Region(half(False), 0)]
        result = painted(session(network, styles=styles, regions=regions))
        left, right = result[:, :24].mean((0, 1)), result[:, -24:].mean((0, 1))
        assert left[2] > left[0] + 60
        assert right[0] > right[2] + 60

    @pytest.mark.slow
    def test_areas_outside_all_regions_stay_like_the_photograph(self, builtin_network):
        regions = [Region(half(True), 0)]
        content = picture(144, 112, 1)
        made = session(builtin_network, {"longest_side": 144}, content=content, regions=regions)
        change = np.abs(painted(made) - np.asarray(content).astype(int)).mean(2)
        assert change[:, 110:].mean() < 8
        assert change[:, :34].mean() > 25

    def test_a_style_mask_chooses_a_part_of_the_painting(self, network):
        painting = Image.new("RGB", (96, 96), (220, 30, 30))
        painting.paste((30, 30, 220), (0, 0, 48, 96))
        everywhere = Image.new("L", (8, 8), 255)
        places = {}
        for left in (True, False):
            made = session(network, styles=[painting], regions=[Region(everywhere, 0, half(left, 96, 96))])
            made.step()
            # The style's edges are cut off, so its size comes from the setting.
            columns = Inner(*made._setting(made._stage).parts[0].styles[0][0].image.shape[2:], 16).columns
            places[left] = (made._stage.kept["places.0"][:, 0] % columns / columns).tolist()
        assert max(places[True]) <= 0.55
        assert min(places[False]) >= 0.45

    def test_the_weights_of_several_styles_count(self, builtin_network):
        red, blue = flat((220, 30, 30)), flat((30, 30, 220))
        redness = []
        for share in (0.1, 10.0):
            styles = [Style(red, share), Style(blue, 1.0)]
            scene = Scene(content=CONTENT, styles=styles)
            made = Session(Recipe(objective="neighbours", evaluations=6), scene, builtin_network)
            result = painted(made).mean((0, 1))
            redness.append(result[0] - result[2])
        assert redness[0] < -60
        assert redness[1] > 60

    def test_the_content_weight_decides_how_much_the_search_looks_for_the_content(self, network):
        weights = (0.0, 0.05, 0.3, 1e6)
        found = []
        for weight in weights:
            start = picture(72, 56, 7)
            made = session(network, {"content_weight": weight, "start": "image"}, start_image=start)
            setting = dataclasses.replace(made._setting(made._stage), coarsest=False)
            ((_, rows),) = neighbours._Search(setting)._looked_for()
            ((_, content),) = rows_of(network, setting.content, margin=16, padding="reflect")
            ((_, begin),) = rows_of(network, setting.start, margin=16, padding="reflect")
            found.append(float((rows - begin).norm() / (content - begin).norm()))
        assert found == pytest.approx([0, 0.25, 2 / 3, 1], abs=1e-3)

    def test_a_texture_needs_no_content(self, builtin_network):
        made = session(builtin_network, content=None, texture=(80, 64))
        losses = [progress.loss for progress in made]
        assert made.picture().size == (80, 64)
        assert losses[-1] < 0.8 * losses[0]
        assert made.recipe.content_weight == 0

    def test_the_weight_of_a_missing_term_does_no_harm(self, network):
        made, other = (session(network, {"content_weight": weight}) for weight in (1e39, 1e9))
        assert np.array_equal(painted(made), painted(other))
        assert made.stop_reason == "completed"

    @pytest.mark.slow
    @pytest.mark.parametrize("made_of", ["selection", "scale", "styles"])
    def test_large_styles_are_processed_in_pieces_with_progress(self, network, made_of):
        style = picture(420, 300, 2)
        recipe = {"evaluations": 1, "longest_side": 420 if made_of == "selection" else 100}
        scene, styles = {}, [style]
        if made_of == "selection":
            mask = Image.new("L", (420, 326), 0)
            mask.paste(255, (200, 200, 220, 220))
            scene = {"selection": mask}
        elif made_of == "scale":
            recipe["style_scale"] = 4.0
        else:
            styles = [picture(120, 90, seed) for seed in range(10)]
        made = session(network, recipe, styles=styles, **scene)
        steps = list(made)
        assert len([step for step in steps if step.preparing is not None]) > 6
        assert (steps[-1].evaluation, made.stop_reason) == (1, "completed")

    def test_a_picture_of_16_bits_gives_a_result_of_16_bits(self, network):
        deep = np.asarray(CONTENT).astype(np.uint16) * 257
        made = session(network, content=deep)
        list(made)
        samples = made.samples(16)
        assert samples.dtype == np.uint16
        assert len(np.unique(samples)) > 300

    @pytest.mark.parametrize("color", ["luminance", "matched"])
    def test_the_colours_of_the_photograph_are_kept(self, builtin_network, color):
        content = flat((180, 60, 40))
        result = painted(session(builtin_network, {"color": color}, content=content)).mean((0, 1))
        assert result[0] > result[1] + 40
        assert result[0] > result[2] + 40

    def test_a_selection_leaves_the_rest_as_it_is(self, network):
        content = picture(200, 160, 1)
        mask = Image.new("L", (200, 160), 0)
        mask.paste(255, (24, 24, 56, 56))
        made = session(network, {"longest_side": 200}, content=content, selection=mask)
        change = np.abs(painted(made) - np.asarray(content).astype(int)).mean(2)
        outside = np.asarray(mask) == 0
        assert change[outside].max() <= 1
        assert change[~outside].mean() > 5


class TestSessions:
    def test_targets_are_found_in_steps_with_progress(self, network, monkeypatch):
        monkeypatch.setattr(neighbours, "_AT_ONCE", 0)
        monkeypatch.setattr(neighbours, "QUERIES", 64)
        monkeypatch.setattr(matching, "QUERIES", 64)
        steps = list(session(network, {"longest_side": 160}))
        for scale in (1, 2):
            shares = [p.preparing for p in steps if p.scale == scale]
            told = [share for share in shares if share is not None]
            # They come before the first evaluation of the scale, and they rise.
            assert shares[: len(told)] == sorted(set(told))
            assert len(told) > 3
            assert all(0 < share < 1 for share in told)
        assert steps[0].evaluation == 0
        assert steps[0].loss == 0
        made = [p.evaluation for p in steps if p.preparing is None]
        assert made == list(range(1, 7))
        assert {p.evaluations for p in steps} == {6}
        assert all(p.seconds_left is None or p.seconds_left >= 0 for p in steps)

    def test_the_time_left_includes_later_searches(self, network, monkeypatch):
        monkeypatch.setattr(neighbours, "_AT_ONCE", 0)
        clock = types.SimpleNamespace(perf_counter=lambda: clock.now, now=0.0)
        monkeypatch.setattr(sessions, "time", clock)

        def preparation(setting):
            # The search takes 3 s per pixel, and an evaluation (below) 1 s per pixel.
            work, before = objective.preparation(setting), 0.0
            pixels = setting.content[0, 0].numel()
            while True:
                try:
                    share = next(work)
                except StopIteration as end:
                    clock.now += 3 * (1 - before) * pixels
                    return end.value
                clock.now += 3 * (share - before) * pixels
                before = share
                yield share

        def evaluate(objective, image, *how):
            clock.now += image[0, 0].numel()
            return evaluation.evaluate(objective, image, *how)

        monkeypatch.setattr(sessions, "preparation", preparation)
        monkeypatch.setattr(graphs, "evaluate", evaluate)
        guesses = [
            p.seconds + p.seconds_left
            for p in session(network, {"longest_side": 160})
            if p.seconds_left is not None
        ]
        assert len(guesses) > 8
        assert guesses == pytest.approx([clock.now] * len(guesses))

    @pytest.mark.slow
    @pytest.mark.parametrize("at", [0, 2, 5, 9, 14])
    @pytest.mark.parametrize("optimizer", ["lbfgs", "adam"])
    def test_a_restored_run_ends_with_the_same_bytes(self, network, monkeypatch, optimizer, at):
        monkeypatch.setattr(neighbours, "_AT_ONCE", 0)
        recipe = {"optimizer": optimizer, "evaluations": 8, "longest_side": 140, "precision": "bfloat16"}
        straight, stopped = (session(network, recipe) for _ in "ab")
        for _ in range(at):
            stopped.step()
        state = stopped.state()
        scene = Scene(content=CONTENT, styles=[Style(STYLE)])
        restored = Session.restore(state, scene, network)
        assert restored.state() == state
        assert np.array_equal(painted(restored), painted(straight))

    @pytest.mark.slow
    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_the_last_pass_can_be_restored(self, network, monkeypatch, precision):
        monkeypatch.setattr(neighbours, "_AT_ONCE", 0)
        recipe = {"evaluations": 24, "longest_side": 140, "precision": precision}
        straight, stopped = (session(network, recipe) for _ in "ab")
        while not (stopped._stage.scale.finishing and stopped._stage.evaluations == 2):
            stopped.step()
        restored = Session.restore(stopped.state(), Scene(content=CONTENT, styles=[Style(STYLE)]), network)
        assert np.array_equal(painted(restored), painted(straight))

    @pytest.mark.slow
    def test_each_layer_has_its_own_neighbours_in_the_last_pass(self, network):
        made = session(network, {"evaluations": 24})
        losses = [p.loss for p in made if p.scale == p.scales]
        stage = made._stage
        assert stage.scale.finishing
        # Each of the ten layers has its own places.
        places = stage.kept["places.0"]
        assert places.shape[1] == len(LAYERS)
        assert not torch.equal(places[:, 0], places[:, -1])
        assert losses[-1] < losses[0]

    @pytest.mark.slow
    @pytest.mark.parametrize("regions", [False, True])
    def test_the_last_pass_is_the_same_in_tiles_as_at_once(self, network64, regions):
        parts = [Region(half(True), 1), Region(half(False), 0)] if regions else []
        results = []
        for tile_side in (None, 64):
            made = session(
                network64,
                {"evaluations": 16, "longest_side": 160, "precision": "float32"},
                styles=[STYLE, picture(90, 70, 3)],
                regions=parts,
            )
            if tile_side:
                for plans in made._plans:
                    plans[:] = [dataclasses.replace(plans[0], method="tiled", tile_side=tile_side)]
            results.append(painted(made))
        assert abs(results[0] - results[1]).max() <= 1

    def test_steering_searches_for_the_neighbours_again(self, network):
        made = session(network, {"evaluations": 8})
        for _ in range(3):
            made.step()
        before = made._stage.kept["places.0"]
        made.update(Recipe(objective="neighbours", evaluations=8, content_weight=0))
        assert made.step().evaluation == 4
        assert not torch.equal(before, made._stage.kept["places.0"])

    @pytest.mark.slow
    def test_a_style_is_indexed_once_for_many_pictures(self, network):
        cache = TargetCache()
        first = painted(session(network, cache=cache))
        assert cache.misses > 0
        misses = cache.misses
        assert np.array_equal(painted(session(network, cache=cache)), first)
        painted(session(network, cache=cache, content=picture(72, 56, 5)))
        assert cache.misses == misses

    def test_the_memory_plan_includes_the_targets(self, network):
        content = picture(64, 64)
        plans = {
            name: session(network, {"objective": name, "longest_side": 2048}, content=content).plan
            for name in ("balanced", "neighbours")
        }
        more = plans["neighbours"].estimated_bytes - plans["balanced"].estimated_bytes
        targets = 2688 / 16 * 4 * 2048**2
        assert targets < more < 2 * targets

    def test_neighbours_that_were_found_are_kept_after_running_out_of_memory(self, network, monkeypatch):
        made = session(network, {"longest_side": 140})
        made.step()
        before = made._stage.kept["places.0"].clone()
        made._make_do(made._stage, torch.OutOfMemoryError("no room"))
        made.step()
        assert made._stage.objective is not None
        assert torch.equal(made._stage.kept["places.0"], before)

    def test_a_style_weight_of_0_is_refused(self, network):
        with pytest.raises(RecipeError, match="style_weight is 0, but the objective neighbours"):
            session(network, {"style_weight": 0})
