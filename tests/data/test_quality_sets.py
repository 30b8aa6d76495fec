import numpy as np
import pytest
from fake_spreadsheet import write_sheet
from PIL import Image
from scipy.io import savemat

from keras_distill import InputError
from keras_distill.data.quality_sets import read_quality_set


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def live(root):
    names, scores, originals = [], [], []
    for folder in ("jp2k", "jpeg", "wn", "gblur", "fastfading"):
        for number in (1, 2):
            image(root / folder / f"img{number}.png")
            names.append("bikes.bmp" if number == 1 else "sailing1.bmp")
            scores.append(10.0 * len(scores))
            originals.append(number == 2)
    savemat(root / "dmos.mat", {"dmos": [scores], "orgs": [np.float64(originals)]})
    cells = np.array(names, dtype=object)[None]
    savemat(root / "refnames_all.mat", {"refnames_all": cells})


def test_live(tmp_path):
    live(tmp_path)
    found = read_quality_set(f"live:{tmp_path}")
    assert found.paths.tolist() == [
        f"{name}/img1.png" for name in ("jp2k", "jpeg", "wn", "gblur", "fastfading")
    ]  # without the originals
    np.testing.assert_array_equal(found.scores, [0, 20, 40, 60, 80])
    assert set(found.references) == {"bikes.bmp"}
    assert found.distortions.tolist() == ["jp2k", "jpeg", "wn", "gblur", "fastfading"]
    assert not found.higher_is_better
    (tmp_path / "wn" / "img1.png").unlink()
    with pytest.raises(InputError, match="for 9 images; give LIVE release 2"):
        read_quality_set(f"live:{tmp_path}")


def test_tid2013(tmp_path):
    image(tmp_path / "distorted_images" / "i01_01_1.bmp.png")  # as the advice converts it
    image(tmp_path / "distorted_images" / "I25_24_5.PNG")
    (tmp_path / "mos_with_names.txt").write_text("5.51429 I01_01_1.bmp\n3.5 i25_24_5.bmp\n")
    found = read_quality_set(f"tid2013:{tmp_path}")
    assert found.paths.tolist() == [
        "distorted_images/i01_01_1.bmp.png",
        "distorted_images/I25_24_5.PNG",
    ]
    assert found.references.tolist() == ["I01", "I25"]
    assert found.distortions.tolist() == ["01", "24"]
    assert found.higher_is_better


def test_images_that_are_not_converted_yet_and_bad_rows(tmp_path):
    image(tmp_path / "distorted_images" / "I01_01_1.bmp")
    (tmp_path / "mos_with_names.txt").write_text(
        "5.5 I01_01_1.bmp\nsome I01_01_1.bmp\n1 I02_1.bmp\n"
    )
    with pytest.raises(InputError) as raised:
        read_quality_set(f"tid2013:{tmp_path}")
    assert (
        "mos_with_names.txt:1: 'distorted_images/I01_01_1.bmp' is neither JPEG nor PNG. Convert"
        in str(raised.value)
    )
    assert "mos_with_names.txt:3: '1 I02_1.bmp' is not a score and a name" in str(raised.value)


def test_csiq(tmp_path):
    for name in ("awgn/1600.AWGN.1", "jpeg2000/couple.jpeg2000.2", "contrast/couple.contrast.3"):
        image(tmp_path / "dst_imgs" / f"{name}.png")
    header = ["", "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
    rows = [
        ["the scores"],
        header,
        ["", 1600, 1, "noise", 1, 0.03, 0.062],
        ["", "couple", 3, "jpeg 2000", 2, 0.1, 0.2],
        ["", "couple", 6, "contrast", 3, 0.1, 0.5],
    ]
    write_sheet(tmp_path / "csiq.DMOS.xlsx", "all_by_image", rows)
    found = read_quality_set(f"csiq:{tmp_path}")
    assert found.references.tolist() == ["1600", "couple", "couple"]
    assert found.distortions.tolist() == ["noise", "jpeg 2000", "contrast"]
    np.testing.assert_allclose(found.scores, [0.062, 0.2, 0.5], rtol=1e-6)
    assert not found.higher_is_better
    write_sheet(tmp_path / "csiq.DMOS.xlsx", "all_by_image", [*rows, ["", "x", 1, "haze", 1, 1, 1]])
    with pytest.raises(InputError, match=r"xlsx:6: the dst_type 'haze' is none of noise"):
        read_quality_set(f"csiq:{tmp_path}")
    write_sheet(tmp_path / "csiq.DMOS.xlsx", "all_by_image", [["image", "dmos"]])
    with pytest.raises(InputError, match="has no row of the names image, dst_type"):
        read_quality_set(f"csiq:{tmp_path}")


def test_kadid(tmp_path):
    for name in ("I01_01_01", "I81_25_05"):
        image(tmp_path / "images" / f"{name}.png")
    (tmp_path / "dmos.csv").write_text(
        "dist_img,ref_img,dmos,var\nI01_01_01.png,I01.png,4.57,0.5\nI81_25_05.png,I81.png,1.2,0.1\n"
    )
    found = read_quality_set(f"kadid:{tmp_path}")
    assert found.references.tolist() == ["I01.png", "I81.png"]
    assert found.distortions.tolist() == ["01", "25"]
    (tmp_path / "dmos.csv").write_text("dist_img,ref_img,dmos\nI02_01_01.png,I02.png,1\n")
    with pytest.raises(InputError, match=r"dmos\.csv:2: 'images/I02_01_01\.png' does not exist"):
        read_quality_set(f"kadid:{tmp_path}")


@pytest.mark.parametrize(
    ("spec", "said"),
    [("koniq:x", "give one of live:FOLDER"), ("live:none", "there is no such folder")],
)
def test_unknown_sets(spec, said):
    with pytest.raises(InputError, match=said):
        read_quality_set(spec)
