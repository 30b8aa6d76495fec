from keras_distill.evaluation.picture_heading import picture_heading


def test_long_paths_leave_the_figures_in_sight():
    path = "/data/" + "photographs_of_birds/" * 8
    first, *others = picture_heading("mAP 0.81", f"{path} on folder:$photos").split("\n")
    assert first == "mAP 0.81"
    assert "".join(others).replace(" ", "") == f"{path}onfolder:\\$photos"
    assert max(map(len, others)) <= 49
