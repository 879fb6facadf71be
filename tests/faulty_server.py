"""A real HTTP server that speaks the chat-completions protocol and misbehaves by script.

    with FaultyServer(lambda body, n: "503" if n == 0 else None) as server: ... server.url ...

`script(body, n)` names the fault for the n-th time (from 0) that this very body arrives; None: a good answer. It runs on sockets of its own, so that
it can do what no well-behaved framework does: stop in the middle of a body, or say nothing at all.
"""
import asyncio
import email.utils
import json
import threading
import time
from collections import Counter

FAULTS = ["429", "429 seconds", "429 date", "500", "503", "slow headers", "stalled body", "dropped body", "dropped at once", "invalid json", "wrong schema",
          "empty choices", "empty message", "wrong content type"]


def last_words(body): return body["messages"][-1]["content"]


class FaultyServer:
    def __init__(self, script=lambda body, n: None, answer=lambda body: f"answer to {last_words(body)}", seconds=0.0, finish_reason="stop", message=None):
        self.script, self.answer, self.seconds, self.finish_reason, self.message = script, answer, seconds, finish_reason, message or {}
        self.seen = []              # (time, last words, fault, authorization, body) of every request, in the order of arrival
        self.answered = Counter()   # good answers sent to the last byte, by last words
        self.now = self.peak = 0    # requests in hand
        self.retry_at = {}          # last words: the moment before which no retry may come

    # ------------------------------------------------------------ life
    def __enter__(self):
        ready = threading.Event()

        async def serve():
            self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self.connection, "127.0.0.1", 0, backlog=256)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            ready.set()
            await self.stop.wait()
            server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}: task.cancel()
        self.thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self.thread.start(); ready.wait()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.stop.set); self.thread.join(10)

    # ------------------------------------------------------------ one connection
    async def connection(self, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head.split("\r\n")[1:])}
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.now += 1; self.peak = max(self.peak, self.now)
                try: keep = await self.reply(body, headers, writer)
                finally: self.now -= 1
                if not keep: break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError): pass
        finally: writer.transport.abort() if not writer.is_closing() else None

    async def reply(self, body, headers, writer):
        words = last_words(body)
        n = sum(s[4] == body for s in self.seen)
        fault = self.script(body, n)
        self.seen.append((time.time(), words, fault, headers.get("authorization", ""), body))
        if self.seconds: await asyncio.sleep(self.seconds(body) if callable(self.seconds) else self.seconds)
        good = {"id": "x", "object": "chat.completion", "model": body["model"], "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
                "choices": [{"index": 0, "finish_reason": self.finish_reason, "message": {"role": "assistant", "content": self.answer(body), **self.message}}]}
        status, more, kind, text = 200, {}, "application/json", json.dumps(good)
        name, _, detail = (fault or "").partition(" ")
        if name.isdigit():
            status, text = int(name), json.dumps({"error": {"message": f"fault {fault}; you sent {headers.get('authorization')}", "code": None}})
            if detail == "seconds": more["Retry-After"] = "0.3"; self.retry_at[words] = time.time() + 0.3
            if detail == "date": at = int(time.time()) + 2; more["Retry-After"] = email.utils.formatdate(at, usegmt=True); self.retry_at[words] = at
            if detail == "tomorrow": more["Retry-After"] = "86400"
        elif fault == "invalid json": text = text[:-9] + "]"
        elif fault == "wrong schema": text = json.dumps({"result": "done", "choices": "none"})
        elif fault == "empty choices": text = json.dumps({**good, "choices": []})
        elif fault == "empty message": text = json.dumps({**good, "choices": [{"message": {"content": None}, "finish_reason": "stop"}]})
        elif fault == "wrong content type": kind, text = "text/html", "<html><body>Bad gateway</body></html>"
        elif fault == "slow headers": await asyncio.sleep(60)
        elif fault == "dropped at once": return False
        data = text.encode()
        writer.write(("HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n" % (status, kind, len(data)) + "".join(f"{k}: {v}\r\n" for k, v in more.items()) + "\r\n").encode())
        if fault in ("stalled body", "dropped body"):
            writer.write(data[:20]); await writer.drain()
            if fault == "stalled body": await asyncio.sleep(60)
            return False
        if fault is None: self.answered[words] += 1     # before the last byte leaves: the client may be faster than we are
        writer.write(data); await writer.drain()
        return True
