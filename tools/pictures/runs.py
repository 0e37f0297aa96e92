"""What is in the pictures: a quiz, an agent, invoices and a long answer, of the local model."""

from __future__ import annotations

from enum import Enum
from typing import Any, TypedDict

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, SecretStr

from langchain_logprobs import LogprobsCallbackHandler, with_logprobs
from langchain_logprobs.local import LocalModel

_QUIZ = (
    "Who wrote Pride and Prejudice?",
    "What is the capital of Burkina Faso?",
    "What is the capital of Brazil?",
    "Who discovered penicillin?",
    "In which year did the Second World War begin?",
    "Who invented the telegraph?",
    "What is the capital of Australia?",
    "Who was the first president of the United States?",
)
_ASKED = ("Which planet is called the Red Planet?", "What is the largest planet?")
_INVOICES = (
    "Nordlicht GmbH, 11 December 2025: 89.90 euros, not yet paid.",
    "Kestrel & Sons bill you 124 dollars and 50 cents. Settled on 14 April 2026.",
)
_TURNS = (
    ("system", "Trivia quiz with the correct answers."),
    ("human", "Who wrote Hamlet?"),
    ("ai", "William Shakespeare."),
    ("human", "What is the capital of France?"),
    ("ai", "Paris."),
    ("human", "{question}"),
)


class Currency(Enum):
    """What is paid in."""

    EUR = "EUR"
    GBP = "GBP"
    USD = "USD"


class Invoice(BaseModel):
    """What is to be read off an invoice."""

    vendor: str
    date: str
    total: float
    currency: Currency
    paid: bool


class _State(TypedDict):
    question: str
    facts: str
    answer: str


class Encyclopedia(BaseRetriever):
    """Knows one thing."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        del query, run_manager
        return [Document("Iron oxide gives the planet its colour.")]


@tool
def count_letters(word: str) -> int:
    """How long a word is."""
    return len(word)


def make_runs(local: LocalModel, handler: LogprobsCallbackHandler) -> None:
    """Asks the local model all there is to show."""
    config: Any = {"callbacks": [handler]}
    quiz = ChatPromptTemplate(list(_TURNS)) | _chat(local, 40) | StrOutputParser()
    for question in _QUIZ:
        quiz.invoke({"question": question}, config)
    for text in _INVOICES:
        _extraction(local).invoke({"text": text}, config)
    for question in _ASKED:
        _agent(quiz).invoke({"question": question}, {**config, "run_name": "quiz agent"})
    story = ChatPromptTemplate([("human", "{question}")]) | _chat(local, 380, stop=None)
    story.invoke({"question": "The Amazon rainforest is"}, config)


def _chat(local: LocalModel, tokens: int, stop: Any = ("\n", "Q:")) -> Any:
    return with_logprobs(
        ChatOpenAI(
            model=local.model,
            base_url=local.base_url,
            api_key=SecretStr(local.api_key),
            temperature=0,
            max_completion_tokens=tokens,
            stop_sequences=None if stop is None else list(stop),
        ),
        top_logprobs=5,
    )


def _extraction(local: LocalModel) -> Any:
    example = Invoice(
        vendor="Miller & Sons", date="2024-03-03", total=120.5, currency=Currency.EUR, paid=False
    )
    turns = [
        ("system", "Invoices as JSON."),
        ("human", "Miller & Sons, 3 March 2024. Due: 120.50 euros, not yet paid."),
        ("ai", example.model_dump_json().replace("{", "{{").replace("}", "}}")),
        ("human", "{text}"),
    ]
    model = _chat(local, 120, stop=None)
    return ChatPromptTemplate(turns) | model.with_structured_output(Invoice, method="json_schema")


def _agent(quiz: Runnable[Any, str]) -> Any:
    """A graph of three nodes, with a retriever, a tool and two calls of the model."""

    def research(state: _State) -> dict[str, str]:
        return {"facts": Encyclopedia().invoke(state["question"])[0].page_content}

    def draft(state: _State) -> dict[str, str]:
        named = quiz.with_config(run_name="answer from facts")
        return {"answer": named.invoke({"question": state["question"]})}

    def review(state: _State) -> dict[str, str]:
        count_letters.invoke(state["answer"] or "?")
        asked = f"Is it true that the answer to '{state['question']}' is {state['answer']}"
        return {"facts": quiz.invoke({"question": asked})}

    graph = StateGraph(_State)
    for node in (research, draft, review):
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "research")
    graph.add_edge("research", "draft")
    graph.add_edge("draft", "review")
    graph.add_edge("review", END)
    return graph.compile()
