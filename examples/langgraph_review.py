"""A LangGraph graph that answers what the model is sure of, and hands the rest to a person.

python examples/langgraph_review.py                                    a small local model
python examples/langgraph_review.py --base-url URL --model NAME        any OpenAI-compatible API
"""

from __future__ import annotations

from typing import Literal, TypedDict

from _model import chosen_model
from langchain_core.language_models import BaseChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt

from langchain_logprobs import get_logprobs_callback

SURE = 0.8  # calibrate it on answers you know


class State(TypedDict):
    """What goes through the graph."""

    question: str
    answer: str
    confidence: float


def build(model: BaseChatModel) -> CompiledStateGraph[State, None, State, State]:
    """The graph: answer, then review if the answer is not sure."""

    def answer(state: State) -> dict[str, str | float]:
        with get_logprobs_callback() as captured:
            said = model.invoke(state["question"])
        report = captured.last
        sure = report.confidence.confidence if report else None
        return {"answer": said.text.strip(), "confidence": sure or 0.0}  # no number: not sure

    def review(state: State) -> dict[str, str]:
        return {"answer": interrupt(f"Is {state['answer']!r} right? {state['question']}")}

    def route(state: State) -> Literal["review", "__end__"]:
        return "__end__" if state["confidence"] >= SURE else "review"

    graph = StateGraph(State)
    graph.add_node("answer", answer)
    graph.add_node("review", review)
    graph.add_edge(START, "answer")
    graph.add_conditional_edges("answer", route)
    graph.add_edge("review", END)
    return graph.compile(checkpointer=InMemorySaver())


def main() -> None:
    """Asks two questions; plays the person who reviews."""
    with chosen_model(__doc__) as model:
        graph = build(model)
        for thread, question in enumerate(
            ["What is the capital of France?", "What is the capital of Australia?"]
        ):
            state = graph.invoke(
                {"question": question, "answer": "", "confidence": 0.0},
                {"configurable": {"thread_id": str(thread)}},
            )
            print(f"{question}\n  {state['answer']}  (confidence {state['confidence']:.2f})")
            if "__interrupt__" in state:
                print("  under the threshold: a person is asked, and says Canberra")
                state = graph.invoke(
                    Command(resume="Canberra"), {"configurable": {"thread_id": str(thread)}}
                )
                print(f"  {state['answer']}")


if __name__ == "__main__":
    main()
