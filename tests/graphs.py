"""A graph with a bit of everything that LangChain tells of, and the tree it leaves."""

from __future__ import annotations

from typing import Any, TypedDict

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

from langchain_logprobs.testing import ScriptedChatModel, answer, token


def scripted() -> ScriptedChatModel:
    return ScriptedChatModel(
        answers=[answer(token("Syd", -0.9, {"Syd": -0.9, "Can": -1.1}), token("ney", -0.01))]
    )


class Facts(BaseRetriever):
    """Knows one thing."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        del query, run_manager
        return [Document("Canberra.")]


@tool
def look_up(word: str) -> str:
    """Looks a word up."""
    return word


class State(TypedDict):
    question: str


def a_graph() -> Any:
    """A node with a retriever, a tool and a chain; then one with a chain inside a chain."""
    chain = ChatPromptTemplate.from_template("{x}") | scripted() | StrOutputParser()

    def gather(state: State) -> State:
        Facts().invoke(state["question"])
        look_up.invoke("capital")
        return {"question": chain.invoke({"x": state["question"]})}

    def review(state: State) -> State:
        outer = RunnableLambda(lambda x: chain.invoke({"x": x})).with_config(run_name="outer")
        return {"question": outer.invoke(state["question"])}

    graph = StateGraph(State)
    graph.add_node("gather", gather)
    graph.add_node("review", review)
    graph.add_edge(START, "gather")
    graph.add_edge("gather", "review")
    graph.add_edge("review", END)
    return graph.compile()


EXPECTED = [
    (0, "node", "gather"),
    (1, "retriever", "Facts"),
    (1, "tool", "look_up"),
    (1, "chain", "RunnableSequence"),
    (2, "prompt", "ChatPromptTemplate"),
    (2, "call", "scripted-1"),
    (2, "parser", "StrOutputParser"),
    (0, "node", "review"),
    (1, "chain", "outer"),
    (2, "chain", "RunnableSequence"),
    (3, "prompt", "ChatPromptTemplate"),
    (3, "call", "scripted-1"),
    (3, "parser", "StrOutputParser"),
]
