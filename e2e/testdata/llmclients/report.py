"""What the calls of a client came to, as one JSON object."""

import json
import os
import sys

URL, OUTAGE, IMPATIENT, TOKEN = (os.environ[name] for name in ("URL", "OUTAGE", "IMPATIENT", "TOKEN"))
LONG = "x" * (17 << 20)  # more than a body may have
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
came = {}


def call(name, work):
    try:
        came[name] = work()
    except Exception as e:  # of OpenAI's or Anthropic's client
        status = getattr(e, "status_code", None)
        if status is None:
            came[name] = {"raised": type(e).__name__, "message": str(e)}
            return
        body = e.body if isinstance(e.body, dict) else {}
        came[name] = {"raised": type(e).__name__, "status": status, "code": body.get("error", body).get("code")}


def done():
    json.dump(came, sys.stdout)
