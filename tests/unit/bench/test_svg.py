"""The drawings of the benchmark."""

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from bench.report.svg import HEIGHT, WIDTH, Line, drawing

SVG = "{http://www.w3.org/2000/svg}"
positive = st.floats(0.01, 1e6)


@given(st.lists(st.tuples(positive, positive), min_size=1, max_size=6), st.text("<&\"'a", max_size=5))
def test_every_point_is_drawn_inside_the_picture_whatever_the_names(
    points: list[tuple[float, float]], name: str
) -> None:
    picture = ET.fromstring(drawing(name, name, [Line(name, points), Line("second", points)]))  # noqa: S314 - it is our own
    circles = picture.findall(f"{SVG}circle")
    assert len(circles) == 2 * len(points)
    for circle in circles:
        assert 0 <= float(circle.attrib["cx"]) <= WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= HEIGHT


def test_more_is_further_up_and_further_right() -> None:
    picture = ET.fromstring(drawing("x", "y", [Line("one", [(1, 1), (10, 100), (100, 1000)])]))  # noqa: S314 - it is our own
    places = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in picture.findall(f"{SVG}circle")]
    assert places == sorted(places)
    assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
