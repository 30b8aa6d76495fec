import json
import re

import pytest

from keras_distill.ledger.page import page_html


@pytest.fixture(scope="module")
def html(contents, pictures):
    return page_html(contents, pictures)


def test_page_holds_its_data(html, contents, pictures):
    (data,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    assert json.loads(data) == json.loads(json.dumps({"report": contents, "pictures": pictures}))


def test_page_loads_nothing_else(html):
    without_names = html.replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in without_names
    assert "https:" not in without_names
    assert not re.search(r'\b(src|href)="(?!#|data:|report\.json)', html.split('id="data"')[0])
    assert "@import" not in html
    assert "url(" not in html.replace("url(#hatch)", "")


def test_names_cannot_end_the_data(html):
    assert html.count("</script>") == 2
    assert "<img src=x" not in html


def test_not_a_number_is_refused(contents):
    with pytest.raises(ValueError, match="not JSON compliant"):
        page_html(contents | {"seconds": float("nan")}, {})
