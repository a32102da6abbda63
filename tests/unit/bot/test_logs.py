"""No secret leaves through a log line, in whatever form it got into it."""

import io
import json
import logging
import urllib.parse

import pytest

from bot.logs import set_up_logging

TOKEN = "123456789:" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345678"
PASSWORD = "p@ss/word"


@pytest.fixture
def lines(request: pytest.FixtureRequest):
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logging("debug", getattr(request, "param", "json"), [TOKEN, PASSWORD], stream)
    yield stream
    root.handlers[:], root.level = before
    logging.captureWarnings(False)


def _leave(logger: logging.Logger) -> None:
    logger.info("token_%s", TOKEN)
    logger.info("event", extra={"url": f"https://api.example/bot{TOKEN}/getMe", "nested": {"key": [PASSWORD]}})
    logger.info("url %s", f"postgresql://banter:{urllib.parse.quote(PASSWORD, safe='')}@db/banter")
    try:
        raise ValueError(f"bad token {TOKEN}")
    except ValueError:
        logger.exception("failed")


@pytest.mark.parametrize("lines", ["json", "console"], indirect=True)
def test_no_form_of_a_secret_is_written(lines: io.StringIO) -> None:
    _leave(logging.getLogger("bot.anything"))
    _leave(logging.getLogger("some.library"))
    written = lines.getvalue()
    assert "failed" in written
    for secret in (TOKEN, PASSWORD, urllib.parse.quote(PASSWORD, safe=""), TOKEN.partition(":")[2]):
        assert secret not in written


def test_a_token_that_is_not_configured_is_recognised_by_its_shape(lines: io.StringIO) -> None:
    other = "987654321:" + "ZyXwVuTsRqPoNmLkJiHgFeDcBa987654321"
    logging.getLogger("x").warning("saw %s", other)
    assert other not in lines.getvalue()


def test_json_lines_are_one_object_each_and_escape_what_could_forge_a_line(lines: io.StringIO) -> None:
    logging.getLogger("x").warning("name", extra={"value": 'a\n{"level": "error"}\x1b[31m'})
    (line,) = lines.getvalue().splitlines()
    assert json.loads(line)["event"] == "name"
    assert "\x1b" not in line
