"""Every line of what must hold has a spec, every such spec has been seen red, and the page that says so is true."""

from __future__ import annotations

import pytest

from specs.semantics import LINES, SERVICES, unknown
from tests.semantics import PAGE, Spec, of, page, red, specs


def test_every_line_has_a_spec() -> None:
    assert [key for key in LINES if not of(key)] == []


def test_every_line_belongs_to_a_service() -> None:
    assert {key.partition("-")[0] for key in LINES} == set(SERVICES)


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.id)
def test_a_spec_that_stands_for_a_line_has_been_seen_red(spec: Spec) -> None:
    assert [unknown(key) for key in spec.keys if unknown(key)] == []
    assert red(spec), f"{spec.id} stands for {', '.join(spec.keys)}, but nothing makes it red: add it to tests/red"


def test_the_page_is_what_the_code_says() -> None:
    if PAGE.read_text(encoding="utf-8") != page():
        pytest.fail("docs/semantics.md is not what the specs and their breaks say: ./run semantics", pytrace=False)


def test_a_key_that_is_unknown_is_told_with_its_neighbours() -> None:
    assert unknown("http-user") is None
    assert "take one of: ntp-answer, ntp-bounds" in str(unknown("ntp-anwser"))
    assert "take one of: vrrp, dhcp" in str(unknown("nothing-like-it"))


def test_what_was_never_seen_red_is_noticed() -> None:
    assert red(Spec("lanservices/test_dns.py", "test_of_nothing", ("dns-serials",), False)) == ()
    assert red(Spec("lanservices/test_ntp.py", "TestOnTheWire::test_it_answers_as_a_server", (), False))
