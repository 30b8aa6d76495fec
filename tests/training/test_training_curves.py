import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from keras_distill.runs.directory import RunDirectory
from keras_distill.training.training_curves import draw_training


def record(epoch, **values):
    rate = 3e-4 * (1 - epoch / 9)
    return {"epoch": epoch, "step": 10 * epoch, "loss": 1.0 / epoch, "learning_rate": rate} | values


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Draws records, and returns what each panel shows: title, and points by name."""

    def run(records, losses=("loss", "triplet")):
        directory = RunDirectory(tmp_path / "birds")
        directory.path.mkdir(exist_ok=True)
        for each in records:
            directory.append_metrics(each)
        drawn = []
        savefig = Figure.savefig

        def saved(figure, file, **options):
            drawn.extend(axes for axes in figure.axes if axes.axison)
            savefig(figure, file, **options)

        monkeypatch.setattr(Figure, "savefig", saved)
        draw_training(directory, losses=losses)
        panels = {
            axes.get_title(loc="left"): {line.get_label(): line.get_xydata() for line in axes.lines}
            for axes in drawn
        }
        return directory, panels, drawn

    return run


def test_all_that_was_measured(draw):
    records = [
        record(
            epoch,
            triplet=0.5 / epoch,
            gradient_norm=2.0,
            gradient_norm_max=3.0 + epoch,
            **({"val_recall@1": 0.5 + 0.1 * (epoch % 3)} if epoch > 1 else {}),
        )
        for epoch in range(1, 8)
    ]
    directory, panels, _ = draw(records)
    assert [*panels] == ["loss", "Recall@1 of held-out classes", "learning rate", "gradient norm"]
    np.testing.assert_allclose(panels["loss"]["triplet"][:, 1], [r["triplet"] for r in records])
    recall = panels["Recall@1 of held-out classes"]["val recall@1"]
    np.testing.assert_array_equal(recall[:, 0], range(2, 8))
    with Image.open(directory.curves) as picture:
        assert picture.size[0] > 1000


def test_each_optimizer_has_its_curve(draw):
    values = {"learning_rate_critic": 0.1, "gradient_norm": 1.0, "gradient_norm_critic": 2.0}
    _, panels, _ = draw([record(epoch, **values) for epoch in (1, 2)])
    assert list(panels["learning rate"]) == ["learning rate", "learning rate critic"]
    assert list(panels["gradient norm"]) == ["mean, before clipping", "gradient norm critic"]


def test_the_best_epoch_is_named(draw):
    records = [record(epoch, **{"val_recall@1": 0.5 - abs(epoch - 3) / 10}) for epoch in (2, 3, 4)]
    _, _, axes = draw(records, losses=["loss"])
    assert [text.get_text() for text in axes[1].texts] == ["0.500 in epoch 3"]


def test_a_single_loss_is_shown_once(draw):
    _, panels, _ = draw([record(1, triplet=1.0), record(2, triplet=0.5)])
    assert [*panels["loss"]] == ["triplet"]


def test_one_epoch_and_none(draw):
    directory, panels, _ = draw([])
    assert not directory.curves.exists()
    directory, panels, _ = draw([record(1)], losses=["loss"])
    assert [*panels] == ["loss", "learning rate"]
    assert directory.curves.exists()
