import PIL
import pytest

from keras_distill import InputError
from keras_distill.data.view_changes import Augmentation, ViewChanges, parse_augmentations


def test_changes_by_name():
    assert parse_augmentations("") == Augmentation()
    assert parse_augmentations("grey:1,jitter") == Augmentation(grey=1.0, jitter=0.8)
    assert parse_augmentations("grey:1,jitter").colours == {"grey": 1.0, "jitter": 0.8}
    assert parse_augmentations("cutout:0.25,randaugment:3:4.5") == Augmentation(3, 4.5, cutout=0.25)
    assert parse_augmentations("cutout:0.25,randaugment").colours == {}


def test_numbers_that_are_left_out_are_the_published_ones():
    published = Augmentation(2, 9.0, jitter=0.8, grey=0.2, cutout=0.5)
    assert parse_augmentations("jitter,grey,randaugment,cutout") == published
    assert parse_augmentations("randaugment:1") == Augmentation(1, 9.0)


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        (
            "haze",
            r"`augment=haze`: 'haze' is unknown; give one or several of jitter:P, grey:P, "
            r"randaugment:N:M, cutout:SHARE, each once\.",
        ),
        ("grey,grey:1", "'grey' is there twice"),
        ("jitter,", "'' is unknown"),
        ("grey:0", r"'grey:0' has no probability above 0 and up to 1; .* is grey:0\.2\."),
        ("grey:1.1", "'grey:1.1' has no probability"),
        ("grey:much", "'grey:much' has no probability"),
        ("grey:", "'grey:' has no probability"),
        ("grey:0.2:1", "'grey:0.2:1' has too many numbers; the published change is grey:0\\.2\\."),
        (
            "randaugment:0",
            "'randaugment:0' has no number of operations from 1 to 10; the published one is "
            r"randaugment:2:9\.",
        ),
        ("randaugment:1.5:9", "'randaugment:1.5:9' has no number of operations from 1 to 10"),
        ("randaugment:11:9", "'randaugment:11:9' has no number of operations from 1 to 10"),
        ("randaugment:nan", "'randaugment:nan' has no number of operations"),
        ("randaugment:2:10.5", "'randaugment:2:10.5' has no magnitude from 0 to 10; the published"),
        ("randaugment:2:-1", "'randaugment:2:-1' has no magnitude from 0 to 10"),
        ("randaugment:2:nan", "'randaugment:2:nan' has no magnitude"),
        ("randaugment:2:9:1", "'randaugment:2:9:1' has too many numbers; .* randaugment:2:9"),
        ("cutout:0", "'cutout:0' has no share of the side above 0 and below 1; .* cutout:0.5"),
        ("cutout:1", "'cutout:1' has no share of the side"),
        ("cutout:half", "'cutout:half' has no share of the side"),
        ("cutout,cutout:0.2", "'cutout' is there twice"),
    ],
)
def test_unusable_changes(augment, said):
    with pytest.raises(InputError, match=said):
        ViewChanges(augment)


@pytest.mark.parametrize("alpha", [0.0, 0.04, float("nan"), float("inf")])
def test_unusable_alpha(alpha):
    with pytest.raises(InputError, match=r"`mixup_alpha=.*` must be a number from 0\.05"):
        ViewChanges(mixup_alpha=alpha)


def test_provenance_tells_changes_apart_and_nothing_else():
    assert ViewChanges().provenance == {}
    same = ViewChanges("jitter,grey:0.2", 1), ViewChanges("grey,jitter:0.8", 1.0)
    assert same[0].provenance == same[1].provenance
    different = [
        ViewChanges(),
        ViewChanges("jitter"),
        ViewChanges("grey"),
        ViewChanges("grey:0.3"),
        ViewChanges("jitter", 1.0),
        ViewChanges("randaugment"),
        ViewChanges("randaugment:3"),
        ViewChanges("randaugment:2:8"),
        ViewChanges("randaugment,cutout"),
        ViewChanges("randaugment,jitter"),
        ViewChanges("cutout"),
        ViewChanges("cutout:0.4"),
        ViewChanges(mixup_alpha=1.0),
        ViewChanges(mixup_alpha=0.5),
    ]
    assert len({str(changes.provenance) for changes in different}) == len(different)


def test_provenance_of_caches_on_disk():
    """What names the folders of former caches has not changed."""
    assert ViewChanges("jitter,grey", 1).provenance == {
        "augment": {"grey": 0.2, "jitter": 0.8},
        "colours_version": 1,
        "mixup_alpha": 1.0,
        "mixes_version": 1,
    }
    assert ViewChanges("cutout,randaugment:3:7").provenance == {
        "randaugment": [3, 7.0],
        "randaugment_version": 1,
        "pillow": PIL.__version__,
        "cutout": 0.5,
        "cutout_version": 1,
    }
    same = (
        ViewChanges("cutout:0.5,jitter,randaugment"),
        ViewChanges("randaugment:2:9,cutout,jitter"),
    )
    assert same[0].provenance == same[1].provenance
