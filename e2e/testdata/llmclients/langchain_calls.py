"""What LangChain gets from the API."""

import json

from langchain_openai import ChatOpenAI
from report import IMPATIENT, LONG, OUTAGE, TOKEN, TOOL, URL, call, done


def model(name, token=TOKEN, url=URL, max_retries=0):
    return ChatOpenAI(model=name, base_url=url + "/v1", api_key=token, max_retries=max_retries)


def tool(answer):
    return [answer.tool_calls[0]["name"], answer.tool_calls[0]["args"]]


def tool_stream():
    whole = None
    for chunk in model("tools").bind_tools([TOOL]).stream("Hello"):
        whole = chunk if whole is None else whole + chunk
    return tool(whole)


def text(*args, says="Hello", **more):
    return model(*args, **more).invoke(says).content


def chat_stream(name):
    parts = [chunk.content for chunk in model(name).stream("Hello")]
    return {"text": "".join(parts), "several": len(parts) > 2}


call("chat", lambda: text("org/talks:8b"))
call("chat stream", lambda: chat_stream("org/talks:8b"))
call("tools", lambda: tool(model("tools").bind_tools([TOOL]).invoke("Hello")))
call("tools stream", tool_stream)
call("headers", lambda: json.loads(text("headers")))
call("401", lambda: text("org/talks:8b", token="sk-none"))
call("403", lambda: text("vectors"))
call("404", lambda: text("nothing"))
call("413", lambda: text("org/talks:8b", says=LONG))
call("429", lambda: text("busy"))
call("503", lambda: text("org/talks:8b", url=OUTAGE))
call("cut stream", lambda: chat_stream("broken"))
call("repeated", lambda: text("flaky", max_retries=2, says="langchain"))
call("time-out", lambda: text("slow", url=IMPATIENT, max_retries=2, says="langchain"))
done()
