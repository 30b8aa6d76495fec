import pytest

from keras_distill import InputError
from keras_distill.data.view_changes import ViewChanges, parse_augmentations


def test_probabilities_by_name():
    assert parse_augmentations("") == {}
    assert parse_augmentations("grey:1,jitter") == {"grey": 1.0, "jitter": 0.8}


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ("haze", r"`augment=haze`: 'haze' is unknown; give one or several of jitter:P, grey:P"),
        ("grey,grey:1", "'grey' is there twice"),
        ("jitter,", "'' is unknown"),
        ("grey:0", r"'grey:0' has no probability above 0 and up to 1; .* is grey:0\.2\."),
        ("grey:1.1", "'grey:1.1' has no probability"),
        ("grey:much", "'grey:much' has no probability"),
        ("grey:", "'grey:' has no probability"),
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
        ViewChanges(mixup_alpha=1.0),
        ViewChanges(mixup_alpha=0.5),
    ]
    assert len({str(changes.provenance) for changes in different}) == len(different)
