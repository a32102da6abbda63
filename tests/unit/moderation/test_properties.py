"""Laws that hold for any text."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moderation.hygiene import neutralise_pings, strip_invisible
from moderation.normalize import fold
from moderation.policy import Moderator
from moderation.private import find_private, redact
from moderation.verdict import Action

any_text = st.text(max_size=200) | st.text(
    alphabet=st.sampled_from(
        list("fuck shit@<>#!&/.:-_*|()[]0123456789+$%'\n\r\t\u200b\u200d\u202e\u0301\u2800аеоﷺ😀ﬁ")
    ),
    max_size=200,
)
laws = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
secrets = st.one_of(
    st.from_regex(r"[1-9][0-9]{9}:[A-Za-z0-9_-]{34}[A-Za-z0-9]", fullmatch=True),
    st.from_regex(r"ghp_[A-Za-z0-9]{36}", fullmatch=True),
    st.from_regex(r"AKIA[0-9A-Z]{16}", fullmatch=True),
    st.from_regex(r"[a-z]{3,12}\.[a-z]{3,12}@[a-z]{3,12}\.example\.com", fullmatch=True),
    st.from_regex(r"\+44 20 79[0-9]{2} 0[0-9]{3}", fullmatch=True),
)


@laws
@given(text=any_text, said=any_text)
def test_any_text_gets_a_verdict_with_a_span_inside_it(moderator: Moderator, text: str, said: str) -> None:
    said_verdict = moderator.check_incoming(said)
    for verdict, judged in (
        (said_verdict, said),
        (moderator.check_outgoing(text, said=said, said_verdict=said_verdict), text),
    ):
        if verdict.span is not None:
            start, end = verdict.span
            assert 0 <= start < end <= len(judged)


@laws
@given(
    before=st.sampled_from(["", "my token: ", "(", "see ", "\n"]),
    secret=secrets,
    after=st.sampled_from(["", " ok", ")", "\n", ", x"]),
)
def test_redaction_never_leaves_the_secret(moderator: Moderator, before: str, secret: str, after: str) -> None:
    verdict = moderator.check_incoming(before + secret + after)
    assert verdict.action is Action.REDACT
    assert secret not in verdict.text


@laws
@given(text=any_text)
def test_findings_do_not_overlap_and_redaction_keeps_the_rest(text: str) -> None:
    findings = find_private(text)
    edges = [0, *(edge for finding in findings for edge in finding.span), len(text)]
    assert edges == sorted(edges)
    kept = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    kinds = [f"[{finding.kind}]" for finding in findings]
    assert redact(text, findings) == "".join(part for pair in zip(kept, [*kinds, ""], strict=True) for part in pair)


@laws
@given(text=any_text)
def test_stripping_twice_is_stripping_once(text: str) -> None:
    once = strip_invisible(text)
    assert strip_invisible(once) == once


@laws
@given(text=any_text)
def test_neutralising_pings_twice_is_doing_it_once(text: str) -> None:
    once = neutralise_pings(text)
    assert neutralise_pings(once) == once


@laws
@given(text=any_text)
def test_an_allowed_reply_is_allowed_unchanged_when_judged_again(moderator: Moderator, text: str) -> None:
    calm = moderator.check_incoming("hello")
    first = moderator.check_outgoing(text, said="hello", said_verdict=calm)
    if first.action is Action.ALLOW:
        again = moderator.check_outgoing(first.text, said="hello", said_verdict=calm)
        assert (again.action, again.text) == (Action.ALLOW, first.text)


@laws
@given(text=any_text)
def test_every_folded_character_comes_from_the_text(text: str) -> None:
    folded = fold(text)
    assert len(folded.offsets) == len(folded.text)
    assert list(folded.offsets) == sorted(folded.offsets)
    assert all(0 <= offset < len(text) for offset in folded.offsets)
