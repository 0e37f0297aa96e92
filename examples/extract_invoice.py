"""A record out of a text, with how sure the model was of each field, and what to review.

python examples/extract_invoice.py                                   a small local model
python examples/extract_invoice.py --base-url URL --model NAME       any OpenAI-compatible API
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from _model import chosen_model
from langchain_core.language_models import BaseChatModel
from langchain_core.prompts import ChatPromptTemplate
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_logprobs import CallReport, LogprobsCallbackHandler
from langchain_logprobs.cli import render

CHECK_BELOW = {"$.total": 0.9, "$.currency": 0.9, "$.paid": 0.8}  # what a mistake would cost most
TEXT = (
    "Bill no. 2024-17 by Green Garden Services of 12 July 2024: 340 pounds, "
    "to be paid within 30 days."
)


class Currency(Enum):
    """What is paid in."""

    EUR = "EUR"
    GBP = "GBP"
    USD = "USD"


class Invoice(BaseModel):
    """What is to be read off an invoice."""

    number: str
    vendor: str
    date: str
    total: float
    currency: Currency
    paid: bool


EXAMPLES = {
    "Invoice A-1007 from Miller & Sons, 3 March 2024. Due: 120.50 euros, not yet paid.": Invoice(
        number="A-1007",
        vendor="Miller & Sons",
        date="2024-03-03",
        total=120.5,
        currency=Currency.EUR,
        paid=False,
    ),
    "Received with thanks: 75 dollars for invoice 88/B, Acme Ltd, of May 9, 2023.": Invoice(
        number="88/B",
        vendor="Acme Ltd",
        date="2023-05-09",
        total=75,
        currency=Currency.USD,
        paid=True,
    ),
}


def extract(model: BaseChatModel, handler: LogprobsCallbackHandler) -> Invoice:
    """The record, as any application would get it; the callback is all that is added."""
    turns = [
        turn
        for text, invoice in EXAMPLES.items()
        for turn in (("human", text), ("ai", _escaped(invoice.model_dump_json())))
    ]
    prompt = ChatPromptTemplate([("system", "Invoices as JSON."), *turns, ("human", "{text}")])
    chain = prompt | model.with_structured_output(Invoice, method="json_schema")
    invoice = chain.invoke({"text": TEXT}, {"callbacks": [handler]})
    return Invoice.model_validate(invoice)


def fields_table(invoice: Invoice, report: CallReport) -> Table:
    """The record, each field coloured by how sure the model was of it."""
    table = Table("field", "value", "confidence", "others in mind", box=None)
    confidences = report.confidences_for(invoice)
    for name, value in invoice.model_dump(mode="json").items():
        sure = confidences[name]
        shown = Text(str(value), render.heat_style(sure))
        table.add_row(name, shown, render.number(sure), ", ".join(_others(report, name)))
    return table


def main() -> None:
    """Extracts one invoice and lists what a person should look at."""
    console = Console()
    handler = LogprobsCallbackHandler(keep=1, thresholds=CHECK_BELOW)
    with chosen_model(__doc__, stop=None) as model:
        invoice = extract(model, handler)
    report = handler.reports[-1]
    console.print(TEXT, style="dim")
    console.print(render.strip(report.tokens))
    console.print(fields_table(invoice, report))
    for field in report.low_fields:
        sure = f"{render.percent(field.confidence.confidence)} %"
        limit = f"{render.percent(CHECK_BELOW[field.path])} %"
        told = f"Review {field.path}: {field.value!r} is {sure} sure, {limit} is asked for."
        console.print(told, markup=False)


def _others(report: CallReport, name: str) -> Iterator[str]:
    label = report.labels.get(f"$.{name}")
    for value, probability in (label.probabilities if label else {}).items():
        if label and value != label.chosen and probability:
            yield f"{value} {render.percent(probability)} %"


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


if __name__ == "__main__":
    main()
