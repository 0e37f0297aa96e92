from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import (
    ConfigurableField,
    RunnableBinding,
    RunnableBranch,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
    RunnableSequence,
)
from langchain_core.runnables.passthrough import RunnableAssign
from langchain_ollama import ChatOllama
from langchain_openai import AzureChatOpenAI, AzureOpenAI, ChatOpenAI, OpenAI
from pydantic import BaseModel, SecretStr

from langchain_logprobs import LogprobsUnsupportedError, providers, with_logprobs
from langchain_logprobs.patches import ollama_v3, openai_responses, together_stream
from langchain_logprobs.provider_rules import RULES, WITHOUT
from langchain_logprobs.testing import ScriptedChatModel, answer

KEY = SecretStr("none")
INCLUDE = "message.output_text.logprobs"
TOLD = {"metadata": {"logprobs": True}}
"""How a run says that it asks, where its parameters do not."""


@pytest.fixture(autouse=True)
def _no_patch_is_in_force_before_or_after() -> Iterator[None]:
    providers._say_once.cache_clear()
    for patch in (openai_responses, ollama_v3):
        patch.revert()
    yield
    for patch in (openai_responses, ollama_v3, together_stream):
        patch.revert()


def openai(**given: Any) -> ChatOpenAI:
    return ChatOpenAI(**{"model": "gpt-4o-mini", "api_key": KEY, **given})


class Stand(BaseModel):
    """Stands for a model of a package that is not installed: `of()` gives it that one's name."""

    model_kwargs: dict[str, Any] | None = None
    extra_body: dict[str, Any] | None = None
    logprobs: Any = None
    top_logprobs: Any = None
    logits_all: bool = True
    llm: Any = None
    params: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


def of(path: str, **fields: Any) -> Any:
    package, _, name = path.partition(".")
    return type(name, (Stand,), {"__module__": f"{package}.models"})(**fields)


# What is set


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (openai(), {"logprobs": True, "top_logprobs": 5}),
        (
            AzureChatOpenAI(azure_endpoint="http://localhost", api_version="1", api_key=KEY),
            {"logprobs": True, "top_logprobs": 5},
        ),
        (OpenAI(api_key=KEY), {"logprobs": 5}),
        (
            AzureOpenAI(azure_endpoint="http://localhost", api_version="1", api_key=KEY),
            {"logprobs": 5},
        ),
        (ChatOllama(model="m"), {"logprobs": True, "top_logprobs": 5} | TOLD),
        (ScriptedChatModel(answers=[answer("a")], logprobs=False), {"logprobs": True}),
        (
            of("langchain_openrouter.ChatOpenRouter"),
            {"model_kwargs": {"logprobs": True, "top_logprobs": 5}},
        ),
        (
            of("langchain_fireworks.ChatFireworks", model_kwargs={"seed": 1}),
            {"model_kwargs": {"seed": 1, "logprobs": True, "top_logprobs": 5}},
        ),
        (
            of("langchain_together.ChatTogether", extra_body={"a": 1}),
            {"logprobs": True, "extra_body": {"a": 1, "logprobs": 5}},
        ),
        (
            of("langchain_ibm.ChatWatsonx", params={"seed": 1}),
            {"params": {"seed": 1, "logprobs": True, "top_logprobs": 5}} | TOLD,
        ),
        (
            of("langchain_litellm.ChatLiteLLM", metadata={"team": "a"}),
            {
                "model_kwargs": {"logprobs": True, "top_logprobs": 5},
                "metadata": {"team": "a", "logprobs": True},
            },
        ),
        (of("langchain_google_vertexai.ChatVertexAI"), {"logprobs": 5}),
        (of("langchain_community.LlamaCpp"), {"logprobs": 5}),
        (
            of(
                "langchain_huggingface.ChatHuggingFace",
                llm=of("langchain_huggingface.HuggingFaceEndpoint"),
            ),
            {"model_kwargs": {"logprobs": True, "top_logprobs": 5}} | TOLD,
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_copy_of_the_same_kind_asks_and_the_model_given_does_not(
    model: Any, fields: dict[str, Any]
) -> None:
    before = dict(model)
    told = {key: {**(before[key] or {}), **of} for key, of in fields.items() if key == "metadata"}

    asking = with_logprobs(model)

    assert type(asking) is type(model)
    assert {**before, **fields, **told} == dict(asking)
    assert before == dict(model)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (openai(), {"logprobs": True, "top_logprobs": 0}),
        (OpenAI(api_key=KEY), {"logprobs": 0}),
        (ChatOllama(model="m"), {"logprobs": True, "top_logprobs": None}),
        (of("langchain_google_vertexai.ChatVertexAI"), {"logprobs": True}),
        (of("langchain_together.ChatTogether"), {"logprobs": True, "extra_body": {"logprobs": 1}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_alternatives_still_means_logprobs(model: Any, fields: dict[str, Any]) -> None:
    asking = with_logprobs(model, 0)

    assert fields == {key: getattr(asking, key) for key in fields}


@pytest.mark.parametrize("top", [-1, 21, 2.5, True, "5"])
def test_other_numbers_of_alternatives_are_refused(top: Any) -> None:
    with pytest.raises(ValueError, match="0 to 20"):
        with_logprobs(openai(), top)


@pytest.mark.parametrize(
    ("model", "most"),
    [
        (OpenAI(api_key=KEY), 5),
        (AzureOpenAI(azure_endpoint="http://localhost", api_version="1", api_key=KEY), 5),
        (OpenAI(api_key=KEY, base_url="http://localhost/v1"), 20),  # vLLM
        (of("langchain_fireworks.ChatFireworks"), 5),
        (
            of(
                "langchain_huggingface.ChatHuggingFace",
                llm=of("langchain_huggingface.HuggingFaceEndpoint"),
            ),
            5,
        ),
        (of("langchain_xai.ChatXAI", model_kwargs={}), 8),
    ],
    ids=["openai", "azure", "vllm", "fireworks", "hugging face", "xai"],
)
def test_what_a_provider_would_answer_with_an_error_is_refused(model: Any, most: int) -> None:
    asking = with_logprobs(model, most)

    assert type(asking) is type(model)
    with pytest.raises(ValueError, match=f"{most} at most|0 to 20"):
        with_logprobs(model, most + 1)


@pytest.mark.parametrize(
    "given",
    [
        {"use_responses_api": True},
        {"reasoning": {"effort": "low"}},
        {"model_kwargs": {"text": {"verbosity": "low"}}},
        {"output_version": "responses/v1"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_a_model_set_up_for_the_responses_api_asks_in_its_words(given: dict[str, Any]) -> None:
    asking = with_logprobs(openai(**given), 3)

    assert (asking.logprobs, asking.top_logprobs, asking.include) == (None, 3, [INCLUDE])
    assert openai_responses.PATCH.is_applied


def test_what_else_is_to_be_included_stays() -> None:
    asking = with_logprobs(with_logprobs(openai(include=["reasoning.encrypted_content"])))

    assert asking.include == ["reasoning.encrypted_content", INCLUDE]


def test_no_package_is_changed_when_told_not_to() -> None:
    with_logprobs(openai(), patch=False)
    with_logprobs(ChatOllama(model="m"), patch=False)

    assert not openai_responses.PATCH.is_applied
    assert not ollama_v3.PATCH.is_applied


# Models around models


def test_bound_models_ask_and_what_was_bound_does_not_turn_it_off_again() -> None:
    bound = openai().bind(logprobs=False, top_logprobs=1, stop=["x"])

    asking: Any = with_logprobs(bound, 4)

    assert isinstance(asking, RunnableBinding)
    assert (asking.bound.logprobs, asking.bound.top_logprobs) == (True, 4)
    assert asking.kwargs == {"stop": ["x"]}
    assert bound.kwargs == {"logprobs": False, "top_logprobs": 1, "stop": ["x"]}


def test_what_was_bound_to_be_included_is_joined_by_the_logprobs() -> None:
    bound = openai(use_responses_api=True).bind(include=["reasoning.encrypted_content"])

    asking: Any = with_logprobs(bound)

    assert asking.kwargs == {"include": ["reasoning.encrypted_content", INCLUDE]}


class City(BaseModel):
    name: str


def test_bound_tools_stay_bound_in_a_model_of_the_same_kind() -> None:
    with_tools = openai().bind_tools([City])

    asking: Any = with_logprobs(with_tools, 3)

    assert type(asking) is type(with_tools)
    assert asking.kwargs == with_tools.kwargs  # type: ignore[attr-defined]
    assert (asking.bound.logprobs, asking.bound.top_logprobs) == (True, 3)


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
@pytest.mark.parametrize("include_raw", [True, False])
def test_structured_output_of_a_model_asks(method: Any, include_raw: bool) -> None:  # noqa: FBT001
    structured = openai().with_structured_output(City, method=method, include_raw=include_raw)

    asking: Any = with_logprobs(structured)
    made, before = models_in(asking), models_in(structured)

    assert type(asking) is type(structured)
    assert [of.logprobs for of in made] == [True]
    assert [of.logprobs for of in before] == [None]


def test_the_models_of_a_chain_ask_and_the_rest_of_it_stays() -> None:
    prompt = ChatPromptTemplate.from_template("{a}")
    double = RunnableLambda(lambda text: f"{text}{text}")
    late = init_chat_model("gpt-4o-mini", configurable_fields="any", api_key="none")
    chain = (
        prompt
        | RunnableParallel(one=openai() | double, two=openai().with_retry())
        | RunnablePassthrough.assign(three=openai())
        | RunnableBranch((bool, openai()), (bool, late), openai())
        | double
    )

    asking: Any = with_logprobs(chain)

    assert isinstance(asking, RunnableSequence)
    assert [of.logprobs for of in models_in(asking)] == [True] * 6
    assert [of.logprobs for of in models_in(chain)] == [None] * 6
    assert (asking.first, asking.last) == (prompt, double)


def test_a_chain_without_a_model_is_refused() -> None:
    chain = RunnablePassthrough() | RunnableLambda(str)

    with pytest.raises(LogprobsUnsupportedError, match="How RunnableSequence turns"):
        with_logprobs(chain)


def test_a_chain_with_a_model_that_gives_none_is_refused() -> None:
    chain = RunnablePassthrough() | openai() | RunnableLambda(str) | of_anthropic()

    with pytest.raises(LogprobsUnsupportedError, match="ChatAnthropic gives no logprobs"):
        with_logprobs(chain)


def of_anthropic() -> GenericFakeChatModel:
    kind = type("ChatAnthropic", (GenericFakeChatModel,), {"__module__": "langchain_anthropic.m"})
    made: GenericFakeChatModel = kind(messages=iter([]))
    return made


def models_in(chain: Any) -> list[Any]:
    if isinstance(chain, ChatOpenAI):
        return [chain]
    if callable(getattr(chain, "_model", None)):
        return [chain._model()]
    return [model for inside in inside_of(chain) for model in models_in(inside)]


def inside_of(chain: Any) -> list[Any]:
    match chain:
        case RunnableSequence(steps=steps):
            return steps
        case RunnableParallel(steps__=named):
            return [*named.values()]
        case RunnableAssign(mapper=inner) | RunnableBinding(bound=inner):
            return [inner]
        case RunnableBranch(branches=branches, default=default):
            return [*(of for _, of in branches), default]
    return [of for of in [getattr(chain, "bound", None)] if of is not None]


def test_asking_twice_is_asking_once() -> None:
    wrapped = openai().bind(stop=["x"]).with_retry().with_fallbacks([ChatOllama(model="m")])
    late: Any = init_chat_model("gpt-4o-mini", configurable_fields="any", api_key="none")
    model = openai()

    assert with_logprobs(with_logprobs(model)) == with_logprobs(model)
    assert with_logprobs(with_logprobs(wrapped)) == with_logprobs(wrapped)
    assert with_logprobs(with_logprobs(late), 3)._model().top_logprobs == 3


def test_a_fallback_that_gives_fewer_alternatives_is_used_as_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    few = OpenAI(api_key=KEY)

    asking: Any = with_logprobs(openai().with_fallbacks([few]), 7)

    assert asking.fallbacks == [few]
    assert "top_logprobs is 7, but OpenAI gives 5 at most" in caplog.text


def test_tools_and_structured_output_come_afterwards() -> None:
    asking = with_logprobs(openai())
    with_tools: Any = asking.bind_tools([City])
    structured: Any = asking.with_structured_output(City)

    assert with_tools.bound.logprobs is True
    assert structured.first.bound.logprobs is True


def test_models_with_configurable_fields_ask_whatever_is_configured() -> None:
    model = openai().configurable_fields(temperature=ConfigurableField(id="t"))

    asking: Any = with_logprobs(model, 2)
    prepared, _ = asking.prepare({"configurable": {"t": 0.5}})

    assert type(asking) is type(model)
    assert (prepared.logprobs, prepared.top_logprobs, prepared.temperature) == (True, 2, 0.5)


def test_of_configurable_alternatives_those_that_can_ask(caplog: pytest.LogCaptureFixture) -> None:
    cannot = GenericFakeChatModel(messages=iter([AIMessage("a")]))
    model = openai().configurable_alternatives(
        ConfigurableField(id="m"), ollama=lambda: ChatOllama(model="m"), fake=cannot
    )

    asking: Any = with_logprobs(model)
    chosen = {key: asking.prepare({"configurable": {"m": key}})[0] for key in ("default", "ollama")}
    left, _ = asking.prepare({"configurable": {"m": "fake"}})

    assert {k: of.logprobs for k, of in chosen.items()} == {"default": True, "ollama": True}
    assert left is cannot
    assert [record.message[:50] for record in caplog.records] == [
        "A model is used as it is. How GenericFakeChatModel"
    ]


def test_retries_and_fallbacks_ask_too() -> None:
    model = openai().with_retry().with_fallbacks([ChatOllama(model="m")])

    asking: Any = with_logprobs(model)

    assert type(asking) is type(model)
    assert asking.runnable.bound.logprobs is True
    assert asking.fallbacks[0].logprobs is True


def test_what_init_chat_model_makes_asks() -> None:
    asking = with_logprobs(init_chat_model("openai:gpt-4o-mini", api_key="none"))

    assert isinstance(asking, ChatOpenAI)
    assert asking.logprobs is True


class TestInitChatModelThatIsConfiguredLater:
    chosen: ClassVar[dict[str, Any]] = {"configurable": {"model": "openai:gpt-4o-mini"}}

    def test_asks_once_it_is_configured(self) -> None:
        model: Any = init_chat_model(configurable_fields="any", api_key="none")

        asking = with_logprobs(model, 3)
        made = asking._model(self.chosen)

        assert isinstance(asking, type(model))
        assert (made.logprobs, made.top_logprobs) == (True, 3)
        assert model._model(self.chosen).logprobs is None

    def test_asks_with_tools_and_configuration_bound_afterwards(self) -> None:
        model: Any = init_chat_model(configurable_fields="any", api_key="none")
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}

        asking = with_logprobs(model).bind_tools([tool]).with_config(self.chosen)
        made = asking._model()

        assert made.bound.logprobs is True
        assert {"tools": [tool]} == made.kwargs

    def test_asks_in_structured_output(self) -> None:
        model: Any = init_chat_model("gpt-4o-mini", configurable_fields="any", api_key="none")
        schema = {"title": "City", "type": "object", "properties": {"name": {"type": "string"}}}

        made = with_logprobs(model).with_structured_output(schema)._model()

        assert made.first.bound.logprobs is True

    def test_shows_the_attributes_of_the_model_to_come(self) -> None:
        model: Any = init_chat_model("gpt-4o-mini", configurable_fields="any", api_key="none")

        assert with_logprobs(model).logprobs is True

    @pytest.mark.parametrize("change", ["_default_config", "_model", "config_prefix"])
    def test_is_refused_where_langchain_makes_it_in_another_way(
        self, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model: Any = init_chat_model(configurable_fields="any", api_key="none")
        if change == "_default_config":
            model._settings = vars(model).pop("_default_config")
        elif change == "_model":
            monkeypatch.setattr(type(model), "_model", None)
        else:
            monkeypatch.setattr(type(model), "__init__", lambda self, *, default_config: None)  # noqa: ARG005

        with pytest.raises(LogprobsUnsupportedError, match="Choose the model first"):
            with_logprobs(model)

    def test_is_used_as_it_is_where_the_configured_model_has_none(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model: Any = init_chat_model(configurable_fields="any", api_key="none")
        monkeypatch.delitem(providers.RULES, "langchain_openai.BaseChatOpenAI")  # type: ignore[misc]

        made = with_logprobs(model)._model(self.chosen)

        assert made.logprobs is None
        assert "How ChatOpenAI turns logprobs on is not known here" in caplog.text


# Those without


@pytest.mark.parametrize("path", sorted(WITHOUT))
def test_models_without_logprobs_are_refused_with_the_reason_and_what_to_use(path: str) -> None:
    with pytest.raises(LogprobsUnsupportedError) as error:
        with_logprobs(of(path))

    name = path.partition(".")[2]

    assert str(error.value).startswith(f"{name} gives no logprobs: {WITHOUT[path]}. Models that")
    assert "ChatOpenAI(base_url=...)" in str(error.value)


def test_unknown_models_are_refused_with_what_to_do() -> None:
    with pytest.raises(LogprobsUnsupportedError, match="the handler captures them all the same"):
        with_logprobs(GenericFakeChatModel(messages=iter([])))


def test_llama_cpp_keeps_logprobs_only_where_it_was_loaded_to() -> None:
    with pytest.raises(LogprobsUnsupportedError, match="logits_all=True"):
        with_logprobs(of("langchain_community.ChatLlamaCpp", logits_all=False))


def test_hugging_face_has_them_only_over_an_endpoint() -> None:
    pipeline = of("langchain_huggingface.HuggingFacePipeline")

    with pytest.raises(LogprobsUnsupportedError, match="over HuggingFacePipeline gives"):
        with_logprobs(of("langchain_huggingface.ChatHuggingFace", llm=pipeline))


@pytest.mark.parametrize(
    "path", ["langchain_together.ChatTogether", "langchain_google_genai.ChatGoogleGenerativeAI"]
)
def test_a_model_whose_calls_would_fail_or_be_in_vain_is_refused_without_its_patch(
    path: str,
) -> None:
    with pytest.raises(LogprobsUnsupportedError, match=r"without the patch langchain_logprobs\."):
        with_logprobs(of(path), patch=False)


def test_subclasses_go_by_their_nearest_ancestor() -> None:
    class Mine(ChatOpenAI):
        pass

    assert with_logprobs(Mine(model="m", api_key=KEY)).logprobs is True


def test_every_patch_a_rule_names_is_there() -> None:
    for rule in RULES.values():
        if rule.patch is not None:
            assert __import__(f"langchain_logprobs.patches.{rule.patch}", fromlist=["PATCH"]).PATCH
