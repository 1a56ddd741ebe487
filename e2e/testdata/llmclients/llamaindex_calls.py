"""What LlamaIndex gets from the API."""

import json

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from report import IMPATIENT, LONG, OUTAGE, TOKEN, URL, call, done


def weather(city: str) -> str:
    """Tell the weather of a city."""


TOOLS = [FunctionTool.from_defaults(fn=weather)]


def model(name, token=TOKEN, url=URL, max_retries=0):
    return OpenAILike(
        model=name, api_base=url + "/v1", api_key=token, max_retries=max_retries,
        is_chat_model=True, is_function_calling_model=True, context_window=8192,
    )


def tool(llm, answer):
    called = llm.get_tool_calls_from_response(answer)[0]
    return [called.tool_name, called.tool_kwargs]


def tool_stream():
    llm = model("tools")
    return tool(llm, list(llm.stream_chat_with_tools(TOOLS, user_msg="Hello"))[-1])


def text(*args, says="Hello", **more):
    return model(*args, **more).chat([ChatMessage(says)]).message.content


def chat_stream(name):
    parts = [chunk.delta for chunk in model(name).stream_chat([ChatMessage("Hello")])]
    return {"text": "".join(parts), "several": len(parts) > 2}


call("chat", lambda: text("org/talks:8b"))
call("chat stream", lambda: chat_stream("org/talks:8b"))
call("tools", lambda: tool(model("tools"), model("tools").chat_with_tools(TOOLS, user_msg="Hello")))
call("tools stream", tool_stream)
call("headers", lambda: json.loads(text("headers")))
call("401", lambda: text("org/talks:8b", token="sk-none"))
call("403", lambda: text("vectors"))
call("404", lambda: text("nothing"))
call("413", lambda: text("org/talks:8b", says=LONG))
call("429", lambda: text("busy"))
call("503", lambda: text("org/talks:8b", url=OUTAGE))
call("cut stream", lambda: chat_stream("broken"))
call("repeated", lambda: text("flaky", max_retries=2, says="llamaindex"))
call("time-out", lambda: text("slow", url=IMPATIENT, max_retries=2, says="llamaindex"))
done()
