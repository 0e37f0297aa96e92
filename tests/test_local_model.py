"""The real model, through ChatOpenAI: what everything else in this package is about."""

from collections.abc import Callable
from dataclasses import fields
from functools import reduce
from operator import add
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from langchain_logprobs.core.confidence import confidence_of
from langchain_logprobs.core.shapes import read_tokens
from langchain_logprobs.core.tokens import TokenLogprob
from langchain_logprobs.local import LocalModel

Chat = Callable[..., ChatOpenAI]
Ask = Callable[[ChatOpenAI, str], AIMessage]

QUESTIONS = (
    "Who wrote Pride and Prejudice?",
    "What is the capital of Burkina Faso?",
    "Who composed the Four Seasons?",
)
EXAMPLE = (("human", "Where is the Louvre?"), ("ai", '{"city": "Paris", "country": "France"}'))

# The server computes one request at a time and keeps nothing of the one before, so that the same
# request does the same floating-point operations in the same order: what differs is a bug of ours.
# The rest is for JSON, which carries the float32 logprobs with at least nine digits.
SAME = 1e-6

Asked = Callable[..., AIMessage]


class City(BaseModel):
    """Where something stands."""

    city: str
    country: str


@pytest.fixture
def chat(local: LocalModel) -> Chat:
    def make(**settings: Any) -> ChatOpenAI:
        return ChatOpenAI(
            base_url=local.base_url,
            model=local.model,
            api_key=local.api_key,
            temperature=0,
            logprobs=True,
            top_logprobs=5,
            timeout=600,
            **settings,
        )

    return make


def streamed(model: ChatOpenAI, question: str) -> AIMessage:
    return reduce(add, model.stream(question))


def tokens_of(message: AIMessage) -> tuple[TokenLogprob, ...]:
    return read_tokens(message.response_metadata["logprobs"]) or ()


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("ask", [lambda model, question: model.invoke(question), streamed])
def test_the_tokens_joined_are_the_answer(
    chat: Chat, local: LocalModel, ask: Ask, question: str
) -> None:
    answer = ask(chat(stop=list(local.stop)), question)

    assert "".join(token.text for token in tokens_of(answer)) == answer.text != ""
    assert b"".join(token.raw for token in tokens_of(answer)).decode() == answer.text


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_greedy_answer_has_the_same_logprobs_streamed_and_not(
    chat: Chat, local: LocalModel, question: str
) -> None:
    model = chat(stop=list(local.stop))
    whole, pieces = tokens_of(model.invoke(question)), tokens_of(streamed(model, question))

    assert [token.text for token in whole] == [token.text for token in pieces]
    assert [token.logprob for token in whole] == pytest.approx(
        [token.logprob for token in pieces], abs=SAME
    )
    for one, other in zip(whole, pieces, strict=True):
        assert [each.text for each in one.candidates] == [each.text for each in other.candidates]
        assert [each.logprob for each in one.candidates] == pytest.approx(
            [each.logprob for each in other.candidates], abs=SAME
        )


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_greedy_token_is_the_likeliest_of_its_five_candidates(
    chat: Chat, local: LocalModel, question: str
) -> None:
    tokens = tokens_of(chat(stop=list(local.stop)).invoke(question))

    assert [len(token.candidates) for token in tokens] == [5] * len(tokens)
    assert [token.text for token in tokens] == [token.candidates[0].text for token in tokens]


def test_every_measure_of_a_real_answer_is_defined(chat: Chat, local: LocalModel) -> None:
    confidence = confidence_of(tokens_of(chat(stop=list(local.stop)).invoke(QUESTIONS[0])))
    values = {field.name: getattr(confidence, field.name) for field in fields(confidence)}

    assert [name for name, value in values.items() if value is None] == []
    assert (confidence.missing, confidence.censored) == (0, 0)


@pytest.mark.parametrize("examples", [(), EXAMPLE], ids=["bare", "with an example"])
def test_an_answer_can_be_held_to_a_json_schema(
    chat: Chat, examples: tuple[tuple[str, str], ...]
) -> None:
    ask = chat(max_tokens=80).with_structured_output(City, method="json_schema", include_raw=True)
    answer = ask.invoke([*examples, ("human", "Where is the Colosseum?")])

    assert answer["parsing_error"] is None
    assert answer["parsed"].city == "Rome"
    # llama.cpp drops the white space around JSON from the text, not from the logprobs.
    assert "".join(token.text for token in tokens_of(answer["raw"])).strip() == answer["raw"].text


def test_a_question_may_come_as_content_blocks(chat: Chat, local: LocalModel) -> None:
    model = chat(stop=list(local.stop))
    blocks = [("human", [{"type": "text", "text": QUESTIONS[0]}])]

    assert model.invoke(blocks).text == model.invoke(QUESTIONS[0]).text


def test_an_answer_without_a_stop_ends_at_the_next_question(chat: Chat) -> None:
    answer = chat().invoke(QUESTIONS[0])

    assert "Q:" not in answer.text
    assert answer.response_metadata["finish_reason"] == "stop"
