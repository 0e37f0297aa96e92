"""A report's headline is one channel of one answer; a tree's is the weakest of its calls."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from langchain_logprobs import CallReport, RunTree, TokenLogprob, confidence_of
from langchain_logprobs.core.confidence import Confidence
from langchain_logprobs.core.model import Completion, ModelCall
from langchain_logprobs.core.report import (
    SequenceConfidence,
    call_report,
    channels,
    tree_report,
)
from langchain_logprobs.core.tokens import Channel


def said(text: str, logprob: float | None, channel: Channel = "content") -> TokenLogprob:
    return TokenLogprob(text, logprob, channel=channel)


def a_report(*completions: Completion, **given: Any) -> CallReport:
    call = ModelCall(
        run_id=uuid4(), root_run_id=UUID(int=1), started_ns=0, ended_ns=1, completions=completions
    )
    return call_report(call, **given)


TREE = RunTree(root_run_id=UUID(int=1), name="chain", started_ns=0, ended_ns=1)
MIXED = Completion(
    (
        said("hm", -2.0, "reasoning"),
        said("yes", -0.1),
        said("so", -3.0, "reasoning"),
        said("!", -0.2),
        said("no", -4.0, "refusal"),
    ),
    "yes!",
)


def test_channels_are_never_pooled_and_content_is_the_headline() -> None:
    report = a_report(MIXED)

    assert report.confidence == confidence_of([said("yes", -0.1), said("!", -0.2)])
    assert [of.text for of in report.tokens] == ["yes", "!"]
    assert report.text == "yes!"
    assert report.sequences == (
        SequenceConfidence(0, "content", report.confidence),
        SequenceConfidence(0, "reasoning", confidence_of([said("", -2.0), said("", -3.0)])),
        SequenceConfidence(0, "refusal", confidence_of([said("", -4.0)])),
    )


def test_channels_keep_the_order_of_their_tokens() -> None:
    found = {channel: [of.text for of in tokens] for channel, tokens in channels(MIXED)}

    assert found == {"content": ["yes", "!"], "reasoning": ["hm", "so"], "refusal": ["no"]}
    assert channels(Completion()) == []
    assert channels(Completion((said("a", -1.0),))) == [("content", (said("a", -1.0),))]


def test_the_first_completion_is_the_headline_and_each_has_its_own_measures() -> None:
    first, second = Completion((said("a", -1.0),), "a"), Completion((said("b", -2.0),), "b")
    report = a_report(first, second)

    assert (report.text, report.confidence.mean_logprob) == ("a", -1.0)
    assert [of.confidence.mean_logprob for of in report.sequences] == [-1.0, -2.0]
    refused = a_report(Completion((said("no", -1.0, "refusal"),)), second)
    assert (refused.confidence, refused.tokens) == (Confidence(), ())


def test_a_call_without_an_answer_has_neither_text_nor_tokens() -> None:
    report = a_report(unavailable="no_answer")

    assert (report.text, report.tokens, report.confidence) == ("", (), Confidence())
    assert report.lowest_field is None


def test_choices_that_interleave_are_no_sequence() -> None:
    report = a_report(Completion((said("a", -9.0),), "a"), unavailable="choices_interleaved")

    assert (report.confidence, report.sequences, report.low) == (Confidence(), (), False)
    assert len(report.tokens) == 1


def test_low_is_below_the_threshold_and_never_without_numbers() -> None:
    half = Completion((said("a", -0.6931471805599453),), "a")

    assert [a_report(half, low_response=of).low for of in (0.49, 0.5, 0.51)] == [False, False, True]
    assert not a_report(Completion((said("a", None),), "a"), unavailable="no_numbers").low
    assert a_report(half, low_token=0.6).confidence.low == 1


def test_a_tree_pools_its_calls_by_tokens_and_names_the_weakest() -> None:
    strong = a_report(Completion((said("a", -0.1), said("b", -0.1)), "ab"))
    weak = a_report(Completion((said("c", -3.0),), "c"))
    silent = a_report(Completion(text="d"), unavailable="not_sent")

    tree = tree_report(TREE, [silent, strong, weak], omitted=2)

    assert tree.confidence == confidence_of([said("", -0.1), said("", -0.1), said("", -3.0)])
    assert tree.weakest is weak
    assert (tree.calls, tree.omitted, tree.name) == ((silent, strong, weak), 2, "chain")


def test_a_tree_without_any_numbers_has_no_weakest_call() -> None:
    tree = tree_report(TREE, [a_report(unavailable="not_sent")])

    assert (tree.weakest, tree.confidence) == (None, Confidence())


def test_the_lowest_field_is_the_least_sure_value_and_records_get_their_structure() -> None:
    tokens = (
        said('{"a":', -0.1),
        said("1", -0.5),
        said(',"b":', -0.1),
        said("2", -2.0),
        said("}", -0.1),
    )
    report = a_report(Completion(tokens, '{"a":1,"b":2}'))

    assert report.lowest_field is report.fields["$.b"]
    assert set(report.confidences_for({"a": 1, "b": 2})) == {"a", "b"}
