"""Upper case by several replicas of Ray Serve, each a process of its own.

usage: python shout.py PORT LOG

A replica writes its process and the text into LOG when it begins.
"""

import asyncio
import os
import signal
import sys
import threading

import ray
from ray import serve
from starlette.requests import Request

PORT, LOG = int(sys.argv[1]), sys.argv[2]


@serve.deployment(num_replicas=3, max_ongoing_requests=4, health_check_period_s=1, ray_actor_options={"num_cpus": 0})
class Shout:
    def __init__(self, log):
        self.log = log

    async def __call__(self, request: Request):
        if request.method == "GET":
            return {}
        text = (await request.json())["text"]
        with open(self.log, "a") as log:
            log.write(f"{os.getpid()} {text}\n")
        await asyncio.sleep(0.1)
        return {"text": text.upper(), "replica": os.getpid()}


# The least object store that Ray takes: tensors are not passed between its processes here.
ray.init(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False)
serve.start(http_options={"host": "127.0.0.1", "port": PORT})
serve.run(Shout.bind(LOG), name="shout", route_prefix="/shout")
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
stopped.wait()
ray.shutdown()
