import numpy as np
import pytest

from keras_distill.losses.d3still import D3still


def unit(row):
    length = np.linalg.norm(row)
    return row / length if length else row


def naive(
    teacher,
    student,
    *,
    reduction="mean",
    sample_weight=None,
    nearest=10,
    alpha=200.0,
    beta=10.0,
    gamma=2.0,
):
    teacher = [unit(row) for row in np.float64(teacher)]
    student = [unit(row) for row in np.float64(student)]
    n = len(student)
    weight = np.ones(n) if sample_weight is None else sample_weight
    own = relations = 0.0
    for i in range(n):
        own += weight[i] * ((student[i] - teacher[i]) @ teacher[i]) ** 2
        others = [j for j in range(n) if j != i and weight[j] > 0]
        others = sorted(others, key=lambda j: -np.float32(teacher[i] @ teacher[j]))
        wrong = right = 0.0
        for j in others[: nearest - 1]:
            for k in others[: nearest - 1]:
                expected = teacher[i] @ teacher[j] - teacher[i] @ teacher[k]
                found = student[i] @ teacher[j] - student[i] @ teacher[k]
                squared = ((found - expected) / (0.1 + abs(expected))) ** 2
                wrong += squared * (found * expected < 0)
                right += squared * (found * expected > 0)
        relations += weight[i] * (beta * np.sqrt(wrong) + gamma * np.sqrt(right)) / (nearest - 1)
    total = alpha * np.sqrt(own) + relations
    return total / n if reduction == "mean" else total


def test_contract(teacher_contract):
    teacher_contract(D3still, naive, name="d3still", equal_widths=True, atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {"nearest": 4},
        {"nearest": 3, "alpha": 0.0},
        {"alpha": 0.0, "beta": 0.0},
        {"alpha": 0.0, "gamma": 0.0},
    ],
)
def test_settings_of_ones_own(settings):
    teacher, student = np.random.default_rng(0).normal(size=(2, 14, 4))
    value = D3still(**settings)(teacher, student)
    assert value > 0.1
    np.testing.assert_allclose(value, naive(teacher, student, **settings), rtol=1e-4)


def test_only_the_nearest_count():
    random = np.random.default_rng(0)
    near = unit(np.ones(6)) + 0.1 * random.normal(size=(4, 6))
    far = -unit(np.ones(6)) + 0.1 * random.normal(size=(3, 6))
    student = near + 0.1 * random.normal(size=(4, 6))
    weight = np.append(np.ones(4), np.full(3, 1e-9))  # they are there, but learn nothing
    losses = [
        D3still(nearest=4, reduction="sum")(
            np.concatenate([near, others]), np.concatenate([student, others]), weight
        )
        for others in (far, far[::-1] + 0.1)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_row_is_its_own_nearest_before_its_equals():
    teacher = np.eye(4)[[0, 0, 1, 2]]
    teacher[2] += 0.5 * teacher[0]
    student = np.random.default_rng(0).normal(size=(4, 4))
    value = D3still(nearest=3)(teacher, student)
    np.testing.assert_allclose(value, naive(teacher, student, nearest=3), rtol=1e-4)


@pytest.mark.parametrize("nearest", [0, 2])
def test_nearest_without_a_pair(nearest):
    with pytest.raises(ValueError, match=rf"`nearest={nearest}` must be 3 or more"):
        D3still(nearest)


def test_different_widths():
    with pytest.raises(ValueError, match=r"width 5, the student's 3.*embedding_dim=5"):
        D3still()(np.ones((2, 5)), np.ones((2, 3)))
