"""What the official clients of OpenAI and Anthropic get from a server, as JSON.

usage: TOKEN=... python calls.py URL
"""
import json
import os
import sys

import anthropic
import openai

URL, TOKEN = sys.argv[1], os.environ["TOKEN"]
came = {}


def call(name, work):
    try:
        came[name] = work()
    except (openai.APIStatusError, anthropic.APIStatusError) as e:
        body = e.body if isinstance(e.body, dict) else {}
        error = body.get("error", body)
        came[name] = {"raised": type(e).__name__, "status": e.status_code, "code": error.get("code")}
    except (openai.APIError, anthropic.APIError) as e:
        came[name] = {"raised": type(e).__name__, "message": str(e)}


def gpt(token=TOKEN, **more):
    return openai.OpenAI(base_url=URL + "/v1", api_key=token, max_retries=0, **more)


def claude(token=TOKEN):
    return anthropic.Anthropic(base_url=URL, api_key=token, max_retries=0)


HELLO = [{"role": "user", "content": "Hello"}]


def chat(client, model, **more):
    return client.chat.completions.create(model=model, messages=HELLO, **more)


def chat_stream(client, model):
    parts = [c.choices[0].delta.content for c in chat(client, model, stream=True) if c.choices]
    return {"text": "".join(p for p in parts if p), "several": len(parts) > 2}


def messages_stream(client, model):
    with client.messages.stream(model=model, max_tokens=50, messages=HELLO) as stream:
        return "".join(stream.text_stream)


call("models", lambda: sorted(m.id for m in gpt().models.list()))
call("model", lambda: gpt().models.retrieve("org/talks:8b").id)
call("chat", lambda: chat(gpt(), "org/talks:8b").choices[0].message.content)
call("chat stream", lambda: chat_stream(gpt(), "org/talks:8b"))
call("embeddings", lambda: len(gpt().embeddings.create(model="vectors", input=["a", "b"]).data))
call("key in both headers", lambda: chat(gpt(default_headers={"x-api-key": TOKEN}), "org/talks:8b").choices[0].message.content)
call("401", lambda: chat(gpt("sk-none"), "org/talks:8b"))
call("403", lambda: chat(gpt(), "vectors"))
call("404", lambda: chat(gpt(), "nothing"))
call("404 of others", lambda: chat(gpt(), "secret"))
call("413", lambda: chat(gpt(), "x" * (17 << 20)))
call("steering", lambda: chat(gpt(), "org/talks:8b", extra_body={"api_base": "http://169.254.169.254"}))
call("cut stream", lambda: chat_stream(gpt(), "broken"))

call("claude models", lambda: sorted(m.id for m in claude().models.list()))
call("messages", lambda: claude().messages.create(model="claude", max_tokens=50, messages=HELLO).content[0].text)
call("messages stream", lambda: messages_stream(claude(), "claude-stream"))
call("claude 401", lambda: claude("sk-none").messages.create(model="claude", max_tokens=50, messages=HELLO))
call("claude 404", lambda: claude().messages.create(model="nothing", max_tokens=50, messages=HELLO))
call("claude 413", lambda: claude().messages.create(model="x" * (17 << 20), max_tokens=50, messages=HELLO))
json.dump(came, sys.stdout)
