import numpy as np
import pytest

from keras_distill.serving.export.file_fidelity import FileFidelity


def cosines(*odd, count=64, usual=0.9995):
    return np.array([usual] * (count - len(odd)) + list(odd))


@pytest.mark.parametrize(
    ("odd", "fault"),
    [
        ([], None),
        ([0.9988], None),
        ([0.9961] * 3, None),
        ([0.9988] * 4, "4 of 64 images have a cosine below 0.999, the worst 0.9988"),
        ([0.9959], "the worst of 64 images has a cosine of 0.9959 < 0.9960"),
        ([np.nan], "1 of 64 images have a cosine below 0.999, the worst nan"),
        ([0.2] * 64, "64 of 64 images have a cosine below 0.999, the worst 0.2000"),
    ],
)
def test_few_images_may_miss_the_bound_but_not_by_far(odd, fault):
    assert FileFidelity(cosines(*odd), 0.999).fault() == fault


def test_a_handful_of_images_all_count():
    assert FileFidelity(cosines(0.9989, count=10), 0.999).fault().startswith("1 of 10 images")


@pytest.mark.parametrize("odd", [[0.9988] * 4, [0.9], [0.99, 0.98, 0.97, 0.6], [0.2] * 64])
def test_the_bound_that_it_names_is_the_highest_that_passes(odd):
    given = cosines(*odd)
    passing = FileFidelity(given, 0.999).passing()
    assert FileFidelity(given, passing).fault() is None
    assert FileFidelity(given, passing + 2e-4).fault() is not None


@pytest.mark.parametrize("odd", [[-0.1] * 64, [np.nan], [0.0] * 4])
def test_no_bound_takes_what_is_broken(odd):
    assert FileFidelity(cosines(*odd), 0.999).passing() is None
