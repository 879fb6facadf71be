"""How much of what a server can give the teacher's client gets out of it, against a plain client and a bare semaphore.

    python benchmarks/teacher.py                 three or four minutes on a quiet machine
    python benchmarks/teacher.py --requests 160  a quick look

The server is a process of its own with fixed slots, as a model server has: each request takes a time drawn once from its own text (log-normal, the same for
every contestant), no matter who asks. It computes nothing, so this measures clients, not models. What it can give is the time in which its
slots, never idle, get through the requests in order: the bound that no client can beat.

    sequential   the SDK's plain client, one request after another (a part of the requests; its rate is what counts)
    semaphore    the SDK's asynchronous client under an asyncio.Semaphore, all requests gathered, the SDK's own retries
    grpo_lab     grpo_lab.endpoint.Client, every reply in a journal on the disk

then semaphore and grpo_lab again with a share of the requests answered 429, 500, or with a broken body. Writes benchmarks/results/teacher.json.
"""
import argparse
import asyncio
import datetime
import heapq
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def takes(words, mean): return mean * random.Random(words).lognormvariate(-0.125, 0.5)     # mean of the draws: `mean`


def bound(words, mean, slots):
    "Seconds in which `slots` slots that are never idle get through the requests in order."
    free = [0.0] * slots
    for w in words: heapq.heappush(free, heapq.heappop(free) + takes(w, mean))
    return max(free)


# ------------------------------------------------------------------ the server, in its own process
async def serve(slots, mean, faults):
    seen, slot = {}, asyncio.Semaphore(slots)

    async def connection(reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                body = json.loads(await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0])))
                words = body["messages"][-1]["content"]; n = seen[words] = seen.get(words, 0) + 1
                draw = random.Random(f"{words}/{n}"); wrong = draw.choice([429, 500, 200]) if draw.random() < faults else 0
                if not wrong:
                    async with slot: await asyncio.sleep(takes(words, mean))
                text = json.dumps({"model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": words * 20}}],
                                   "usage": {"prompt_tokens": 100, "completion_tokens": 300, "total_tokens": 400}})
                data = (text[:-30] if wrong == 200 else text).encode()
                writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (wrong or 200, len(data)) + data); await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError): writer.close()
    server = await asyncio.start_server(connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Server:
    "The server as a child process; `url` while inside."
    def __init__(self, slots, mean, faults): self.args = [str(slots), str(mean), str(faults)]
    def __enter__(self):
        self.child = subprocess.Popen([sys.executable, __file__, "--serve", *self.args], stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.child.stdout.readline().strip()}/v1"; return self
    def __exit__(self, *_): self.child.kill(); self.child.wait()


# ------------------------------------------------------------------ contestants: each returns how many answers it has
def sequential(url, words, _):
    from openai import OpenAI
    with OpenAI(base_url=url, api_key="none") as c:
        return sum(bool(c.chat.completions.create(model="m", messages=[{"role": "user", "content": w}]).choices) for w in words)


def semaphore(url, words, slots):
    from openai import AsyncOpenAI

    async def everything():
        gate = asyncio.Semaphore(slots)
        async with AsyncOpenAI(base_url=url, api_key="none") as c:
            async def one(w):
                async with gate: return (await c.chat.completions.create(model="m", messages=[{"role": "user", "content": w}])).choices[0].message.content
            return await asyncio.gather(*map(one, words), return_exceptions=True)
    return sum(isinstance(r, str) for r in asyncio.run(everything()))


def ours(url, words, slots):
    from grpo_lab.config import Teacher
    from grpo_lab.endpoint import Client, Request
    with tempfile.TemporaryDirectory() as d:
        client = Client(Teacher(kind="endpoint", base_url=url, model="m", concurrency=slots), Path(d) / "journal.jsonl")
        return sum(not r.error and r.text == w * 20 for r, w in zip(client.ask([Request([{"role": "user", "content": w}]) for w in words]), words))


def measure(name, one, words, slots, mean, faults=0.0):
    with Server(slots, mean, faults) as server:
        one(server.url, words[:slots], slots)                         # imports, first connections
        words = [f"{w}." for w in words]
        t0, cpu = time.monotonic(), time.process_time()
        got = one(server.url, words, slots)
        seconds, cpu = time.monotonic() - t0, time.process_time() - cpu
    best = bound(words, mean, 1 if one is sequential else slots)
    row = dict(contestant=name, faults=faults, requests=len(words), answers=got, lost=len(words) - got, wall_s=round(seconds, 3), per_second=round(got / seconds, 2),
               cpu_ms_a_request=round(1000 * cpu / len(words), 2), bound_s=round(best, 3), share_of_bound=round(best / seconds, 4))
    print(json.dumps(row), flush=True)
    return row


def main():
    if sys.argv[1:2] == ["--serve"]: asyncio.run(serve(int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))); return
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--requests", type=int, default=640); p.add_argument("--slots", type=int, default=32, help="of the server, and concurrency of the clients")
    p.add_argument("--seconds", type=float, default=1.0, help="mean time of a request"); p.add_argument("--faults", type=float, default=0.3)
    p.add_argument("--repeats", type=int, default=3, help="the best of so many counts")
    p.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "teacher.json"))
    o = p.parse_args()
    words = [f"request {i}" for i in range(o.requests)]
    load = os.getloadavg()[0]
    best = lambda *a: max((measure(*a) for _ in range(o.repeats)), key=lambda r: r["per_second"])
    rows = [measure("sequential", sequential, words[:max(8, o.requests // 32)], o.slots, o.seconds), best("semaphore", semaphore, words, o.slots, o.seconds),
            best("grpo_lab", ours, words, o.slots, o.seconds), measure("semaphore", semaphore, words, o.slots, o.seconds, o.faults), measure("grpo_lab", ours, words, o.slots, o.seconds, o.faults)]
    plain, gate, mine = rows[:3]
    ratios = {"vs sequential": round(mine["per_second"] / plain["per_second"], 2), "vs semaphore": round(mine["per_second"] / gate["per_second"], 3),
              "share of what the server can give": mine["share_of_bound"]}
    from importlib.metadata import version
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    asked = "".join(f" --{k} {v}" for k, v in vars(o).items() if k != "out" and v != p.get_default(k))
    doc = dict(command="python benchmarks/teacher.py" + asked, date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), commit=commit,
               machine=dict(cpu=cpu, cores=os.cpu_count(), load_before=round(load, 2), load_after=round(os.getloadavg()[0], 2), nice=os.nice(0)),
               versions={"python": platform.python_version(), **{n: version(n) for n in ("openai", "httpx2")}}, ratios=ratios, rows=rows)
    out = Path(o.out); out.parent.mkdir(parents=True, exist_ok=True)
    tmp = out.with_suffix(".tmp"); tmp.write_text(json.dumps(doc, indent=1) + "\n"); os.replace(tmp, out)
    print(f"\n{'contestant':12} {'faults':>6} {'answers':>8} {'lost':>5} {'per second':>11} {'share of bound':>15}")
    for r in rows: print(f"{r['contestant']:12} {r['faults']:6.0%} {r['answers']:8} {r['lost']:5} {r['per_second']:11} {r['share_of_bound']:15.1%}")
    print(json.dumps(ratios, indent=1))


if __name__ == "__main__": main()
