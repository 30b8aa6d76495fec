from keras_distill.retrieval.index_parts import unmerged_parts


def test_ten_thousand_additions_make_few_parts_and_write_little():
    sizes, written = [100_000], 0
    for _ in range(10_000):
        kept = unmerged_parts(sizes, 1, first=1)
        sizes = [*sizes[:kept], 1 + sum(sizes[kept:])]
        written += sizes[-1]
        assert len(sizes) <= 1 + 14
    assert sum(sizes) == 110_000
    assert written < 10_000 * 14
