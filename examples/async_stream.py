"""Many streams at once in one event loop, one handler, and a hook for the unsure answers.

python examples/async_stream.py                                    a small local model
python examples/async_stream.py --base-url URL --model NAME        any OpenAI-compatible API
"""

from __future__ import annotations

import asyncio

from _model import chosen_model
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from langchain_logprobs import CallReport, LogprobsCallbackHandler, TokenLogprob

QUESTIONS = [
    "What is the capital of Italy?",
    "What is the capital of Australia?",
    "Who painted the Mona Lisa?",
    "When did the Second World War begin?",
]


def doubt(report: CallReport) -> None:
    """Says which word of an unsure answer was the biggest guess, and what else was weighed."""
    words = [token for token in report.tokens if token.logprob is not None]
    guess: TokenLogprob = min(words, key=lambda token: token.logprob or 0.0)
    others = ", ".join(repr(of.text) for of in guess.candidates if of.text != guess.text)
    print(f"unsure: {report.text.strip()!r}, most of all of {guess.text!r}; also weighed: {others}")


async def ask(model: BaseChatModel) -> None:
    """Asks everything at once."""
    handler = LogprobsCallbackHandler(on_low_confidence=doubt, low_response=0.7, keep=100)
    chain = ChatPromptTemplate.from_template("{question}") | model | StrOutputParser()

    async def one(question: str) -> str:
        parts = chain.astream({"question": question}, {"callbacks": [handler]})
        return "".join([part async for part in parts])

    answers = await asyncio.gather(*map(one, QUESTIONS))
    for question, answer in zip(QUESTIONS, answers, strict=True):
        report = next(of for of in handler.reports if of.text == answer)
        print(f"{report.confidence.confidence:.2f}  {question}  {answer.strip()}")


def main() -> None:
    """Runs the event loop."""
    with chosen_model(__doc__) as model:
        asyncio.run(ask(model))


if __name__ == "__main__":
    main()
