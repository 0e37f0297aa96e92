"""Redaction hides text and changes no number; sampling keeps whole trees; the doubtful stay."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, replace
from itertools import accumulate
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from conftest import Observed
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_logprobs import keep_lowest, redact, sample, through
from langchain_logprobs.core.confidence import confidence_of, measure
from langchain_logprobs.core.model import Completion, ModelCall, RunTree
from langchain_logprobs.core.processors import MASK, likelihood
from langchain_logprobs.core.report import CallReport, Report, TreeReport, call_report, tree_report
from langchain_logprobs.core.tokens import Candidate, TokenLogprob
from langchain_logprobs.testing import ScriptedChatModel, answer, token

ROOT = UUID(int=1)


def a_report(*tokens: TokenLogprob, root: UUID = ROOT, **given_: Any) -> CallReport:
    text = b"".join(of.raw or of.text.encode() for of in tokens if of.channel == "content")
    completion = Completion(tokens=tokens, text=text.decode("utf-8", "replace"))
    completions = given_.pop("completions", (replace(completion, **given_.pop("said", {})),))
    return call_report(
        ModelCall(
            run_id=uuid4(),
            root_run_id=root,
            started_ns=0,
            ended_ns=1,
            completions=completions,
            **given_,
        )
    )


def a_tree(*calls: CallReport, root: UUID = ROOT) -> TreeReport:
    return tree_report(RunTree(root_run_id=root, name="chain", started_ns=0, ended_ns=1), calls)


def processed(processor: Any, report: Report) -> Any:
    after = processor(report)
    assert after is not None
    return after


def shown(report: CallReport) -> list[str]:
    return [of.text for completion in report.call.completions for of in completion.tokens]


# Hiding all text

SECRETS = st.text("sfghjkqwxyzäß€🙂 ", min_size=1, max_size=4)
LOGPROBS = st.one_of(st.floats(-12, 0), st.sampled_from([0.0, -9999.0]))


@st.composite
def tokens(draw: st.DrawFn, spell: st.SearchStrategy[str] = SECRETS) -> TokenLogprob:
    """Any token, with candidates that may be it, be each other, or be half a character."""
    text = draw(spell)
    raw = draw(st.one_of(st.none(), st.just(text.encode()), st.just(text.encode()[:2])))
    same = st.builds(Candidate, st.just(text), LOGPROBS, st.just(raw))
    other = st.builds(Candidate, spell, LOGPROBS, st.one_of(st.none(), st.binary(max_size=2)))
    listed = draw(st.lists(st.one_of(same, other), max_size=5))
    return TokenLogprob(
        text,
        draw(st.one_of(st.none(), LOGPROBS)),
        raw,
        tuple(
            listed + draw(st.lists(st.sampled_from(listed), max_size=2) if listed else st.just([]))
        ),
        draw(st.sampled_from(["content", "content", "refusal", "reasoning"])),
        draw(st.none() | st.integers(0, 9)),
    )


@given(st.lists(tokens(), max_size=8))
@settings(max_examples=50)
def test_redaction_changes_no_number(said: list[TokenLogprob]) -> None:
    report = a_report(*said)

    after = processed(redact(), report)

    assert after.confidence == report.confidence
    assert after.sequences == report.sequences
    (before,), (masked,) = report.call.completions, after.call.completions
    assert [measure(of) for of in masked.tokens] == [measure(of) for of in before.tokens]
    numbers = [(of.logprob, of.channel, of.at_ns) for of in before.tokens]
    assert [(of.logprob, of.channel, of.at_ns) for of in masked.tokens] == numbers
    assert confidence_of(masked.tokens) == confidence_of(before.tokens)
    listed = [[c.logprob for c in of.candidates] for of in before.tokens]
    assert [[c.logprob for c in of.candidates] for of in masked.tokens] == listed


def everything(report: Report) -> str:
    """All that a sink could get out of a report, what its repr leaves out too."""
    return repr(asdict(report))


def words_of(report: CallReport) -> set[str]:
    """Every string in the report that is somebody's words."""
    return {
        text
        for completion in report.call.completions
        for of in completion.tokens
        for text in (of.text, *(c.text for c in of.candidates))
    }


@given(st.lists(tokens(), max_size=6), SECRETS)
@settings(max_examples=50)
def test_redaction_leaves_no_text_anywhere(said: list[TokenLogprob], secret: str) -> None:
    odd = f"§{secret}"
    report = a_report(
        *said,
        said={"text": odd, "tool_calls": (("look", {"at": odd, "all": [odd]}),)},
        metadata={"thread": odd, odd: 1},
        parameters={"stop": [odd], "response_format": {"title": odd}, "temperature": 0.5, "n": 1},
    )

    for after in (
        processed(redact(), report),
        processed(redact(), a_tree(report)),
        processed(through(redact(), redact(".*")), report),
    ):
        assert "§" not in everything(after)
        calls = after.calls if isinstance(after, TreeReport) else (after,)
        for call in calls:
            assert all(re.fullmatch(f"{MASK}\\d*", text) for text in words_of(call))
            assert all(of.raw is None for of in call.tokens)
            assert all(re.fullmatch(MASK, of.text) for of in call.measured.tokens)
            assert call.call.parameters == {"temperature": 0.5, "n": 1}
            assert call.call.metadata == {}
            assert call.text == MASK


def test_redaction_keeps_apart_what_was_apart_and_together_what_was_together() -> None:
    said = TokenLogprob(
        "a",
        -1.0,
        b"a",
        (Candidate("a", -1.0, b"a"), Candidate("b", -2.0), Candidate("b", -3.0, b"b")),
    )

    (masked,) = processed(redact(), a_report(said)).tokens

    assert [of.text for of in masked.candidates] == [MASK, f"{MASK}1", f"{MASK}1"]


def test_parameters_that_are_no_dict_go_whole() -> None:
    report = a_report(parameters=MappingProxyType({"stop": "secret", "n": 2}))

    assert processed(redact(), report).call.parameters == {}


def test_an_answer_without_text_stays_without() -> None:
    assert processed(redact(), a_report()).text == ""


def test_redaction_changes_nothing_of_the_report_it_is_given() -> None:
    report = a_report(token("a", -1.0, {"b": -2.0}), metadata={"a": "b"})
    before = repr(report)

    processed(redact(), report)
    processed(redact("a"), report)

    assert repr(report) == before


# Hiding what matches


def test_only_the_tokens_that_overlap_a_match_are_hidden() -> None:
    report = a_report(
        *(token(text, -1.0, {"alt": -2.0}) for text in ("call ", "12", "3-4", "5 now", " 7"))
    )

    after = processed(redact(r"\d{3}-\d{2}"), report)

    assert shown(after) == ["call ", MASK, MASK, MASK, " 7"]
    assert after.text == f"call {MASK} now 7"
    alternatives = [of.candidates[0].text for of in after.tokens]
    assert alternatives == ["alt", f"{MASK}1", f"{MASK}1", f"{MASK}1", "alt"]
    assert after.confidence == report.confidence


def test_patterns_may_be_compiled_and_several_and_overlap() -> None:
    report = a_report(*map(token, "abcdef"))

    after = processed(redact("ab", re.compile("BC", re.IGNORECASE), "f"), report)

    assert shown(after) == [MASK, MASK, MASK, "d", "e", MASK]
    assert after.text == f"{MASK}de{MASK}"  # no "c" is left over


def test_a_character_split_over_tokens_is_hidden_with_its_first_half() -> None:
    euro = "€".encode()
    report = a_report(token("a"), token(euro[:1]), token(euro[1:]), token("b"))

    after = processed(redact("€"), report)

    assert shown(after) == ["a", MASK, MASK, "b"]
    assert after.tokens[1].raw is None


def test_an_alternative_that_matches_is_hidden_though_it_was_not_chosen() -> None:
    report = a_report(token("Jane", -1.0, {"Jane": -1.0, "Secret": -1.5}), token(" said", -1.0))

    after = processed(redact("Secret"), report)

    assert "Secret" not in everything(after)
    assert shown(after) == [MASK, " said"]
    assert after.text == "Jane said"


def test_tool_calls_are_searched_key_value_and_number() -> None:
    calls: Any = (
        ("by_value", {"who": {"is": ["x", "my 123-45 number"]}}),
        ("by_key", {"123-45": 1}),
        ("by_number", {"is": 77}),
        ("harmless", {"is": ["nothing", "at", "all"]}),
    )
    report = a_report(said={"text": "", "tool_calls": calls})

    after = processed(redact(r"\d{3}-\d{2}", "77"), report)

    (completion,) = after.call.completions
    assert completion.tool_calls == (
        ("by_value", {}),
        ("by_key", {}),
        ("by_number", {}),
        ("harmless", {"is": ["nothing", "at", "all"]}),
    )


def test_a_match_is_found_however_the_provider_spells_its_tokens() -> None:
    # In GPT-2's alphabet a space is "Ġ": the tokens' own spelling holds no "John Doe".
    said = [TokenLogprob(text, -1.0) for text in ("I", "Ġam", "ĠJohn", "ĠDoe")]
    report = a_report(*said, said={"text": "I am John Doe"})

    after = processed(redact("John Doe"), report)

    assert shown(after) == ["I", "Ġam", MASK, MASK]


def test_a_match_in_what_was_cut_off_the_answer_is_hidden() -> None:
    said = [token("yes"), token("STOP")]
    report = a_report(*said, said={"text": "yes"})

    after = processed(redact("STOP"), report)

    assert shown(after) == ["yes", MASK]


def test_each_channel_is_searched_on_its_own() -> None:
    said = [
        token("4", channel="reasoning"),
        token("1"),
        token("5", channel="reasoning"),
        token("2"),
        token("no", channel="refusal"),
    ]

    assert shown(processed(redact("12"), a_report(*said))) == ["4", MASK, "5", MASK, "no"]
    assert shown(processed(redact("41"), a_report(*said))) == ["4", "1", "5", "2", "no"]
    assert shown(processed(redact("^12$"), a_report(*said))) == ["4", MASK, "5", MASK, "no"]


def test_a_pattern_that_matches_nothing_at_all_places_hides_nothing() -> None:
    report = a_report(token("ab"), token("cd"))

    after = processed(redact("x*", r"\b", "^"), report)

    assert after == report


def test_every_completion_is_searched() -> None:
    completions = tuple(Completion((token(text),), text) for text in ("a", "b", "a"))

    after = processed(redact("a"), a_report(completions=completions))

    assert [of.text for of in after.call.completions] == [MASK, "b", MASK]


def test_a_wrong_pattern_raises_at_once() -> None:
    with pytest.raises(re.error):
        redact("(")


# Values of a JSON answer, and arguments of tools

SCHEMA = {"properties": {"who": {}, "rows": {"items": {"properties": {"id": {}}}}}}


def a_record(*parts: str, calls: Any = (), **given_: Any) -> CallReport:
    said = tuple(token(part, -0.5) for part in parts)
    text = "" if calls else "".join(parts)
    call = ModelCall(
        run_id=uuid4(),
        root_run_id=ROOT,
        started_ns=0,
        ended_ns=1,
        completions=(Completion(said, text, calls),),
    )
    return call_report(call, **given_)


def test_redaction_hides_values_labels_and_the_models_own_keys_and_no_number() -> None:
    report = a_record(
        '{"who":', '"Jane"', ',"Jane":{"Doe":', '"x"', '},"rows":[{"id":', "7", '},{"Jane":8}]}',
        schemas=[SCHEMA],
        labels={"who": ["Jane", "John"]},
        thresholds={"who": 0.99, "Jane": 0.99},
    )  # fmt: skip
    assert len(report.low_fields) == 2
    assert report.labels

    after = processed(redact(), report)

    paths = [of.path for of in after.every_field if of.leaf]
    # "Jane" is known at the top, where a threshold names it, and nowhere else.
    assert paths == ["$.who", f"$.Jane.{MASK}1", "$.rows[0].id", f"$.rows[1].{MASK}2"]
    assert "Doe" not in everything(after)
    assert "John" not in everything(after)
    numbers = [of.confidence for of in report.every_field]
    assert [of.confidence for of in after.every_field] == numbers
    assert all(of.value is None for of in (*after.every_field, *after.low_fields))
    assert len(after.low_fields) == 2
    assert not after.labels


def test_keys_that_nobody_named_are_numbered_the_same_key_alike() -> None:
    report = a_record('{"Jane":[', "1", ',{"a b":', "2", '}],"Jane":', "3", "}")

    after = processed(redact(), report)

    leaves = [(of.path, of.occurrence) for of in after.fields.leaves]
    jane = f"$.{MASK}1"
    assert leaves == [(f"{jane}[0]", 0), (f"{jane}[1].{MASK}2", 0), (jane, 1)]
    assert "Jane" not in everything(after)


def test_redaction_hides_a_tools_arguments() -> None:
    report = a_record(
        'look{"', 'at":', '"Jane"', "}", calls=(("look", {"at": "Jane"}),), labels={"at": ["Jane"]}
    )
    assert report.tools[0].arguments

    after = processed(redact(), report)

    assert "Jane" not in repr(after.call)
    assert [of.value for of in after.tools[0].arguments.every_field] == [None, None]
    assert not after.tools[0].labels
    assert after.tools[0].name == "look"


def test_a_value_that_matches_only_when_it_is_read_is_hidden() -> None:
    # The answer spells it with an escape that the pattern does not know.
    report = a_record('{"who":', '"Ren\\u00e9"', "}")

    after = processed(redact("René"), report)

    assert report.fields["$.who"].value == "René"
    assert [of.value for of in after.every_field] == [None, None]
    assert after.call == report.call


def test_a_key_that_matches_is_hidden_and_others_are_shown() -> None:
    report = a_record('{"Jane":{"age":', "7", "}}")

    after = processed(redact("^Jane$", "Jane"), report)

    assert [of.path for of in after.fields.leaves] == [f"$.{MASK}1.age"]
    assert "Jane" not in everything(after)


def test_keeping_the_lowest_keeps_what_the_fields_say() -> None:
    report = a_record('{"who":', '"Jane"', "}", labels={"who": ["Jane"]})

    after = processed(keep_lowest(1), report)

    assert after.fields["$.who"] == replace(report.fields["$.who"], tokens=range(0))
    assert after.labels == report.labels
    assert len(after.measured.tokens) == 1


LETTERS = st.text("abc", min_size=1, max_size=3)


@given(st.lists(tokens(LETTERS), max_size=8), st.sampled_from(["a", "ab", "b+", "^a", "c$", "abc"]))
@settings(max_examples=50)
def test_no_match_is_left_in_the_answer_and_no_number_changes(
    said: list[TokenLogprob], pattern: str
) -> None:
    whole = [replace(of, raw=None, candidates=()) for of in said]
    report = a_report(*whole)

    after = processed(redact(pattern), report)

    assert [measure(of) for of in after.tokens] == [measure(of) for of in report.tokens]
    found = [of.span() for of in re.finditer(pattern, report.text)]
    kept = list(shown_content(after))
    ends = list(accumulate(len(of.text) for of in report.tokens))
    for text, old, end in zip(kept, report.tokens, ends, strict=True):
        overlaps = any(first < end and end - len(old.text) < last for first, last in found)
        assert text == (MASK if overlaps else old.text)
    assert after.text.count(MASK) == len(found)
    assert len(after.text) == len(report.text) - sum(b - a - 1 for a, b in found)


def shown_content(report: CallReport) -> list[str]:
    return [of.text for of in report.tokens]


# Keeping a share


def test_a_sample_decides_by_the_root_run_so_trees_stay_whole() -> None:
    keep_half = sample(0.5)
    kept = 0
    for number in range(200):
        root = uuid5(UUID(int=0), str(number))
        calls = [a_report(root=root) for _ in range(3)]
        verdicts = {keep_half(of) is not None for of in (*calls, a_tree(*calls, root=root))}
        assert len(verdicts) == 1
        kept += verdicts == {True}

    assert 0 < kept < 200


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["random", "counting", "timed"])
def test_a_sample_keeps_its_share_of_any_kind_of_ids(rate: float, kind: str) -> None:
    processor, count = sample(rate), 20_000
    ids = {
        "random": lambda at: uuid5(UUID(int=0), str(at)),
        "counting": lambda at: UUID(int=at),
        # As LangChain's own (version 7): a clock above, chance below.
        "timed": lambda at: UUID(
            int=(0x019ABCDE0000 + at << 80) | uuid5(UUID(int=0), str(at)).int >> 52
        ),
    }
    report = a_report()

    kept = sum(
        processor(replace(report, call=replace(report.call, root_run_id=ids[kind](at)))) is not None
        for at in range(count)
    )

    # Five standard deviations of a fair coin of that share.
    assert abs(kept - rate * count) < 5 * math.sqrt(count * rate * (1 - rate))


def test_a_larger_sample_holds_the_smaller_one() -> None:
    some, more = sample(0.2), sample(0.6)
    for number in range(300):
        report = a_report(root=uuid5(UUID(int=0), str(number)))
        assert some(report) is None or more(report) is not None


@given(st.uuids())
def test_all_is_all_and_none_is_none(root: UUID) -> None:
    report = a_report(root=root)

    assert sample(1)(report) is report
    assert sample(0)(report) is None
    assert sample(0.37)(report) is sample(0.37)(report)


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan, math.inf, 50])
def test_a_wrong_share_raises_with_the_value_and_the_range(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"between 0 and 1, not {rate!r}"):
        sample(rate)


# Keeping the doubtful


def test_the_least_likely_are_kept_in_order_and_measures_stay() -> None:
    report = a_report(
        *(TokenLogprob(str(at), lp) for at, lp in enumerate([-1.0, -5.0, None, -3.0, -9999.0]))
    )

    assert shown(processed(keep_lowest(3), report)) == ["1", "3", "4"]
    assert shown(processed(keep_lowest(0), report)) == []
    assert shown(processed(keep_lowest(9), report)) == ["0", "1", "2", "3", "4"]
    assert processed(keep_lowest(1), report).confidence == report.confidence


def test_of_equals_the_first_is_kept() -> None:
    report = a_report(*(TokenLogprob(text, -1.0) for text in "abc"))

    assert shown(processed(keep_lowest(2), report)) == ["a", "b"]


def test_each_completion_keeps_its_own() -> None:
    completions = tuple(Completion((token("x", -1.0), token("y", -2.0))) for _ in range(2))

    assert shown(processed(keep_lowest(1), a_report(completions=completions))) == ["y", "y"]


@pytest.mark.parametrize("count", [-1, 2.5, "3", True, None])
def test_a_wrong_number_of_tokens_raises(count: Any) -> None:
    with pytest.raises(ValueError, match="keep_lowest"):
        keep_lowest(count)


def test_tokens_without_a_number_are_the_last_to_be_kept() -> None:
    assert likelihood(TokenLogprob("a", None)) > likelihood(TokenLogprob("a", 0.0))


# Trees, and one after the other


def test_a_trees_calls_are_changed_alike_and_its_weakest_is_still_one_of_them() -> None:
    strong, weak = a_report(token("secret", -0.1)), a_report(token("secret", -2.0))
    tree = a_tree(strong, weak)

    after = processed(redact(), tree)

    assert "secret" not in everything(after)
    assert after.weakest is after.calls[1]
    assert after.confidence == tree.confidence
    assert len(after.calls) == 2


def test_a_tree_without_a_weakest_call_has_none_after() -> None:
    assert processed(redact(), a_tree(a_report())).weakest is None


def test_a_weakest_call_that_is_not_the_same_object_is_changed_too() -> None:
    call = a_report(token("secret"))
    tree = replace(a_tree(call, call), weakest=replace(call))

    after = processed(redact(), tree)

    assert "secret" not in everything(after)
    assert len(after.calls) == 2
    assert after.weakest == after.calls[0]


def test_through_applies_each_in_turn_and_stops_at_the_first_that_drops() -> None:
    seen: list[int] = []

    def note(number: int, *, drop: bool = False) -> Any:
        def process(report: Report) -> Report | None:
            seen.append(number)
            return None if drop else report

        return process

    report = a_report()

    assert through()(report) is report
    assert through(note(1), note(2))(report) is report
    assert through(note(3), note(4, drop=True), note(5))(report) is None
    assert seen == [1, 2, 3, 4]


def test_redaction_then_lowest_keeps_both_promises() -> None:
    report = a_report(token("secret", -1.0), token("word", -2.0))

    after = processed(through(keep_lowest(1), redact()), report)

    assert [(of.text, of.logprob) for of in after.tokens] == [(MASK, -2.0)]
    assert after.confidence == report.confidence


def test_tokens_that_are_left_are_not_given_the_places_of_others(observed: Observed) -> None:
    # Of "the cat the", the last "the" is kept: alone it would look like the first.
    handler = observed.handler(processors=[keep_lowest(1)])
    said = answer(("the", -0.1), (" cat ", -0.2), ("the", -3.0))

    ScriptedChatModel(answers=[said]).invoke("", {"callbacks": [handler]})
    handler.flush()

    (span,) = observed.spans("token")
    attributes = span.attributes or {}
    assert attributes["langchain_logprobs.token.logprob"] == -3.0
    assert "langchain_logprobs.token.byte_start" not in attributes
