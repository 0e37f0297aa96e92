"""How each model is made: its client is pointed at loopback in the way its own package offers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import wire

KEY = "none"


def openai(url: str) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4o-mini", base_url=f"{url}/v1", api_key=KEY, max_retries=0)


def openai_responses(url: str) -> Any:
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(
        model="gpt-4o-mini", base_url=f"{url}/v1", api_key=KEY, use_responses_api=True
    )


def openai_tools(url: str) -> Any:
    return openai(url).bind(tools=[{"type": "web_search"}])


def azure(url: str) -> Any:
    from langchain_openai import AzureChatOpenAI

    return AzureChatOpenAI(
        azure_endpoint=url, api_version="2024-10-21", azure_deployment="d", api_key=KEY
    )


def openai_legacy(url: str) -> Any:
    from langchain_openai import OpenAI

    return OpenAI(model="gpt-3.5-turbo-instruct", base_url=f"{url}/v1", api_key=KEY)


def azure_legacy(url: str) -> Any:
    from langchain_openai import AzureOpenAI

    return AzureOpenAI(
        azure_endpoint=url, api_version="2024-10-21", azure_deployment="d", api_key=KEY
    )


def xai(url: str) -> Any:
    from langchain_xai import ChatXAI

    return ChatXAI(model="grok-3", xai_api_base=f"{url}/v1", api_key=KEY)


def deepseek(url: str) -> Any:
    from langchain_deepseek import ChatDeepSeek

    return ChatDeepSeek(model="deepseek-chat", api_base=f"{url}/v1", api_key=KEY)


def cerebras(url: str) -> Any:
    from langchain_cerebras import ChatCerebras

    return ChatCerebras(model="llama3.1-8b", base_url=f"{url}/v1", api_key=KEY)


def openrouter(url: str) -> Any:
    from langchain_openrouter import ChatOpenRouter

    return ChatOpenRouter(model="openai/gpt-4o-mini", base_url=f"{url}/api/v1", api_key=KEY)


def groq(url: str) -> Any:
    from langchain_groq import ChatGroq

    return ChatGroq(model="llama-3.3-70b-versatile", base_url=url, api_key=KEY)


def sambanova(url: str) -> Any:
    from langchain_sambanova import ChatSambaNova

    return ChatSambaNova(model="Meta-Llama-3.3-70B-Instruct", base_url=f"{url}/v1", api_key=KEY)


def fireworks(url: str) -> Any:
    from langchain_fireworks import ChatFireworks

    return ChatFireworks(
        model="accounts/fireworks/models/m", base_url=f"{url}/inference/v1", api_key=KEY
    )


def together(url: str) -> Any:
    from langchain_together import ChatTogether

    return ChatTogether(model="m", base_url=f"{url}/v1", api_key=KEY)


def ollama(url: str) -> Any:
    from langchain_ollama import ChatOllama

    return ChatOllama(model="m", base_url=url)


def hugging_face(url: str) -> Any:
    from langchain_huggingface import ChatHuggingFace, HuggingFaceEndpoint

    endpoint = HuggingFaceEndpoint(endpoint_url=url, huggingfacehub_api_token=KEY)
    return ChatHuggingFace(llm=endpoint, model_id="m")


def watsonx(url: str) -> Any:
    from langchain_ibm import ChatWatsonx

    return ChatWatsonx(
        model_id="ibm/granite-3-8b-instruct",
        url=url,
        token=KEY,
        instance_id="openshift",
        version="5.1",
        project_id="p",
        validate_model=False,
        verify=False,
    )


def vertex_ai(url: str, stream: Callable[[wire.Body], wire.Answer] = wire.gemini_list) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from langchain_google_vertexai import ChatVertexAI
    from vertexai_grpc import AsyncClient

    model = ChatVertexAI(
        model="gemini-2.5-flash",
        project="p",
        location="us-central1",
        credentials=AnonymousCredentials(),
        api_transport="rest",
        api_endpoint=url,
        max_retries=0,
    )
    model.async_client = AsyncClient(stream)
    return model


def vertex_ai_streaming(url: str) -> Any:
    return vertex_ai(url, wire.gemini_list_with_logprobs)


def google_genai(url: str) -> Any:
    from langchain_google_genai import ChatGoogleGenerativeAI

    return ChatGoogleGenerativeAI(
        model="gemini-2.5-flash", api_key=KEY, base_url=url, max_retries=1
    )


def litellm(url: str) -> Any:
    from langchain_litellm import ChatLiteLLM

    return ChatLiteLLM(model="openai/gpt-4o-mini", api_base=f"{url}/v1", api_key=KEY)


def litellm_router(url: str) -> Any:
    from langchain_litellm import ChatLiteLLMRouter
    from litellm import Router

    given = {"model": "openai/gpt-4o-mini", "api_base": f"{url}/v1", "api_key": KEY}
    # Without an id of its own, it is given one made of the server's address.
    info = {"id": "deployment-1"}
    router = Router(model_list=[{"model_name": "m", "litellm_params": given, "model_info": info}])
    return ChatLiteLLMRouter(router=router, model_name="m")


def baseten(url: str) -> Any:
    from langchain_baseten import ChatBaseten

    return ChatBaseten(model="m", baseten_api_base=f"{url}/v1", baseten_api_key=KEY)


def upstage(url: str) -> Any:
    from langchain_upstage import ChatUpstage

    return ChatUpstage(model="solar-pro2", base_url=f"{url}/v1", api_key=KEY)


def nebius(url: str) -> Any:
    from langchain_nebius import ChatNebius

    return ChatNebius(model="m", base_url=f"{url}/v1", api_key=KEY)


def qwen(url: str) -> Any:
    from langchain_qwq import ChatQwen

    return ChatQwen(model="qwen-plus", base_url=f"{url}/v1", api_key=KEY)


def moonshot(url: str) -> Any:
    from langchain_moonshot import ChatMoonshot

    return ChatMoonshot(model="kimi-k2", base_url=f"{url}/v1", api_key=KEY)


def clova_x(url: str) -> Any:
    from langchain_naver import ChatClovaX

    return ChatClovaX(model="HCX-005", base_url=f"{url}/v1", api_key=KEY)


def gigachat(url: str) -> Any:
    from langchain_gigachat import GigaChat

    return GigaChat(base_url=url, access_token=KEY)


def snowflake(url: str) -> Any:
    from langchain_snowflake import ChatSnowflake

    return ChatSnowflake(model="m", account=url, token=KEY)


def cloudflare(url: str) -> Any:
    from langchain_cloudflare import ChatCloudflareWorkersAI

    del url
    return ChatCloudflareWorkersAI(model="m", account_id="a", api_token=KEY)


def ai21(url: str) -> Any:
    from langchain_ai21 import ChatAI21

    return ChatAI21(model="jamba-large", base_url=url, api_key=KEY)


def azure_ai(url: str) -> Any:
    from langchain_azure_ai.chat_models import AzureAIOpenAIApiChatModel

    return AzureAIOpenAIApiChatModel(
        model="gpt-4o-mini", endpoint=f"{url}/v1", credential=KEY, use_responses_api=False
    )


def writer(url: str) -> Any:
    from langchain_writer import ChatWriter

    return ChatWriter(base_url=url, api_key=KEY)


def nvidia(url: str) -> Any:
    from langchain_nvidia_ai_endpoints import ChatNVIDIA

    return ChatNVIDIA(model="meta/llama-3.1-8b-instruct", base_url=f"{url}/v1", api_key=KEY)


def nvidia_models(body: wire.Body) -> wire.Answer:
    del body
    listed = {"id": "meta/llama-3.1-8b-instruct", "object": "model", "owned_by": "m"}
    return wire.Answer([{"object": "list", "data": [listed]}])


def mistral(url: str) -> Any:
    from langchain_mistralai import ChatMistralAI

    return ChatMistralAI(model="mistral-small-latest", base_url=f"{url}/v1", api_key=KEY)


def perplexity(url: str) -> Any:
    from langchain_perplexity import ChatPerplexity

    return ChatPerplexity(model="sonar", api_key=KEY, base_url=url)


def databricks(url: str) -> Any:
    from databricks_langchain import ChatDatabricks

    os.environ |= {"DATABRICKS_HOST": url, "DATABRICKS_TOKEN": KEY}
    return ChatDatabricks(endpoint="m")


def cohere(url: str) -> Any:
    from langchain_cohere import ChatCohere

    return ChatCohere(model="command-r", base_url=url, cohere_api_key=KEY)


def anthropic(url: str) -> Any:
    from langchain_anthropic import ChatAnthropic

    return ChatAnthropic(model="claude-sonnet-4-5", base_url=url, api_key=KEY)


def bedrock(url: str) -> Any:
    from langchain_aws import ChatBedrockConverse

    return ChatBedrockConverse(
        model="anthropic.claude-3-haiku-20240307-v1:0",
        region_name="us-east-1",
        endpoint_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=KEY,
    )
