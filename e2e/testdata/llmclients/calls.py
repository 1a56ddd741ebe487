"""What the official clients of OpenAI and Anthropic get from the API."""

import json

import anthropic
import openai
from report import IMPATIENT, LONG, OUTAGE, TOKEN, TOOL, URL, call, done


def gpt(token=TOKEN, url=URL, max_retries=0, **more):
    return openai.OpenAI(base_url=url + "/v1", api_key=token, max_retries=max_retries, **more)


def claude(token=TOKEN, url=URL):
    return anthropic.Anthropic(base_url=url, api_key=token, max_retries=0)


def says(text):
    return [{"role": "user", "content": text}]


HELLO = says("Hello")


def chat(client, model, messages=HELLO, **more):
    return client.chat.completions.create(model=model, messages=messages, **more)


def text(*args, **more):
    return chat(*args, **more).choices[0].message.content


def chat_stream(client, model):
    parts = [c.choices[0].delta.content for c in chat(client, model, stream=True) if c.choices]
    return {"text": "".join(p for p in parts if p), "several": len(parts) > 2}


def tool(**more):
    called = chat(gpt(), "tools", tools=[TOOL], **more).choices[0].message.tool_calls[0]
    return [called.function.name, json.loads(called.function.arguments)]


def tool_stream():
    name, arguments = "", ""
    for chunk in chat(gpt(), "tools", tools=[TOOL], stream=True):
        for called in chunk.choices[0].delta.tool_calls or []:
            name += called.function.name or ""
            arguments += called.function.arguments or ""
    return [name, json.loads(arguments)]


def messages_stream(client, model):
    with client.messages.stream(model=model, max_tokens=50, messages=HELLO) as stream:
        return "".join(stream.text_stream)


def message(client, model, **more):
    return client.messages.create(model=model, max_tokens=50, messages=HELLO, **more).content[0].text


call("models", lambda: sorted(m.id for m in gpt().models.list()))
call("model", lambda: gpt().models.retrieve("org/talks:8b").id)
call("chat", lambda: text(gpt(), "org/talks:8b"))
call("chat stream", lambda: chat_stream(gpt(), "org/talks:8b"))
call("tools", tool)
call("tools stream", tool_stream)
call("embeddings", lambda: len(gpt().embeddings.create(model="vectors", input=["a", "b"]).data))
call("key in both headers", lambda: text(gpt(default_headers={"x-api-key": TOKEN}), "org/talks:8b"))
call("headers", lambda: json.loads(text(gpt(organization="org-x", project="p"), "headers", extra_headers={"OpenAI-Beta": "assistants=v2"})))
call("401", lambda: chat(gpt("sk-none"), "org/talks:8b"))
call("403", lambda: chat(gpt(), "vectors"))
call("404", lambda: chat(gpt(), "nothing"))
call("404 of others", lambda: chat(gpt(), "secret"))
call("413", lambda: chat(gpt(), LONG))
call("429", lambda: chat(gpt(), "busy"))
call("503", lambda: chat(gpt(url=OUTAGE), "org/talks:8b"))
call("steering", lambda: chat(gpt(), "org/talks:8b", extra_body={"api_base": "http://169.254.169.254"}))
call("cut stream", lambda: chat_stream(gpt(), "broken"))
call("repeated", lambda: text(gpt(max_retries=2), "flaky", says("python")))
call("time-out", lambda: text(gpt(url=IMPATIENT, max_retries=2), "slow", says("python")))

call("claude models", lambda: sorted(m.id for m in claude().models.list()))
call("messages", lambda: message(claude(), "claude"))
call("messages stream", lambda: messages_stream(claude(), "claude-stream"))
call("claude headers", lambda: json.loads(message(claude(), "claude-headers", extra_headers={"anthropic-beta": "a-beta"})))
call("claude 401", lambda: message(claude("sk-none"), "claude"))
call("claude 403", lambda: message(claude(), "claude-counts"))
call("claude 404", lambda: message(claude(), "nothing"))
call("claude 413", lambda: message(claude(), LONG))
call("claude 429", lambda: message(claude(), "claude-busy"))
call("claude 503", lambda: message(claude(url=OUTAGE), "claude"))
done()
