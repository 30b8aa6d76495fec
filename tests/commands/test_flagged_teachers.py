from types import SimpleNamespace

from keras_distill.flagged_teachers import FlaggedTeachers


def flagged(sizes, asked):
    teachers = {name: SimpleNamespace(image_size=size) for name, size in sizes.items()}
    return FlaggedTeachers(teachers, {}, None, {}, set(asked), {}, {})


def test_teachers_that_are_asked_about_another_size_get_images_of_it():
    several = flagged(
        {"same": 32, "any": None, "large": 40, "cached": 48}, ["same", "any", "large"]
    )
    assert several.image_sizes(32) == {"large": 40}
    assert flagged({"": 32}, [""]).image_sizes(32) is None
    assert flagged({"": 40}, [""]).image_sizes(32) == 40


def test_all_teachers_that_are_asked_get_good_images_where_the_student_gets_none():
    several = flagged(
        {"same": 32, "any": None, "large": 40, "cached": 48}, ["same", "any", "large"]
    )
    assert several.image_sizes(32, degraded=True) == {"same": 32, "any": 32, "large": 40}
    assert flagged({"": None}, [""]).image_sizes(32, degraded=True) == 32
    assert flagged({"": 40}, []).image_sizes(32, degraded=True) is None
