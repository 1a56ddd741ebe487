"""Prints what a model of OpenAI's API answers to the official client.

usage: OPENAI_BASE_URL=... OPENAI_API_KEY=... python once.py MODEL
"""
import sys

import openai

HELLO = [{"role": "user", "content": "Hello"}]
print(openai.OpenAI(max_retries=0).chat.completions.create(model=sys.argv[1], messages=HELLO).choices[0].message.content)
