"""The teacher's client against a real server that misbehaves: nothing lost, nothing doubled, nothing paid twice, and the key stays where it is."""
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings as hypothesis_settings, strategies as st

from faulty_server import FAULTS, FaultyServer, last_words
from grpo_lab.config import Settings, Teacher
from grpo_lab.endpoint import Client, FeedbackClient, Program, Request, TeacherClient, TeacherError, open_teacher, save_readings
from grpo_lab.records import Feedback, Problem, Verdict
from grpo_lab.replies import Journal, parse_feedback, split_thinking

ROOT = Path(__file__).resolve().parents[1]
KEY = "sk-test-0123456789-never-written"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("LAB_TEST_KEY", KEY)


def teacher(server, **more):
    return Teacher(**{"kind": "endpoint", "base_url": server.url, "model": "faulty", "api_key_env": "LAB_TEST_KEY", "backoff": 0.02, "max_backoff": 0.1, "timeout": 300, **more})


def ask(words): return Request([{"role": "user", "content": words}])


def questions(n): return [ask(f"question {i}") for i in range(n)]


# ------------------------------------------------------------------ one fault at a time
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_survived(fault):
    timeout = 0.5 if fault in ("slow headers", "stalled body") else 300
    with FaultyServer(lambda body, n: fault if n == 0 else None) as server:
        client = Client(teacher(server, timeout=timeout, max_retries=20))
        reply, = client.ask(questions(1))
        assert reply.text == "answer to question 0" and not reply.error and reply.attempts == len(server.seen) >= 2
        assert server.answered == {"question 0": 1}
        assert (reply.model, reply.finish_reason, reply.usage["completion_tokens"]) == ("faulty", "stop", 5)
        assert client.tokens["prompt_tokens"] == 10 and sum(client.retries.values()) == reply.attempts - 1
        for when, words, *_ in server.seen[1:]:
            assert when >= server.retry_at.get(words, 0), "came back before Retry-After"


def test_a_reply_that_ran_into_its_limit_is_kept_and_not_paid_for_again(tmp_path):
    with FaultyServer(finish_reason="length") as server:
        reply, = Client(teacher(server), tmp_path / "j").ask(questions(1))
        again, = Client(teacher(server), tmp_path / "j").ask(questions(1))
    assert reply == again and reply.finish_reason == "length" and reply.attempts == len(server.seen) == 1


@pytest.mark.parametrize("status, word", [("401", "LAB_TEST_KEY"), ("403", "LAB_TEST_KEY"), ("404", "teacher.base_url")])
def test_what_no_patience_mends_stops_at_once_and_says_what_to_do(status, word):
    with FaultyServer(lambda body, n: status) as server:
        with pytest.raises(TeacherError, match=word) as e: Client(teacher(server, concurrency=4)).ask(questions(100))
        assert len(server.seen) <= 4 and KEY not in str(e.value)
        assert server.seen[0][3] == f"Bearer {KEY}"


def test_a_refused_request_is_set_aside_alone():
    with FaultyServer(lambda body, n: "400" if "7" in last_words(body) else None) as server:
        replies = Client(teacher(server)).ask(questions(10))
    assert [i for i, r in enumerate(replies) if r.error] == [7] and replies[7].error.startswith("refused: status 400") and len(server.seen) == 10


def test_nothing_there_is_said_as_such():
    with FaultyServer() as server: cfg = teacher(server, max_retries=1)
    with pytest.raises(TeacherError, match="nothing answers at teacher.base_url"): Client(cfg).ask(questions(3))


def test_a_server_that_goes_away_ends_the_call_and_what_came_is_kept(tmp_path):
    gone = []
    with FaultyServer(lambda body, n: "dropped at once" if gone or "9" in last_words(body) and not gone.append(1) else None) as server:
        with pytest.raises(TeacherError, match="nothing answers"): Client(teacher(server, concurrency=2, max_retries=1), tmp_path / "j").ask(questions(100))
    assert len(server.seen) < 30 and len(Journal(tmp_path / "j").known) == sum(server.answered.values()) >= 8


def test_a_wrong_key_said_in_gemini_s_way(monkeypatch):
    with FaultyServer(lambda body, n: "400 API key not valid") as server:
        with pytest.raises(TeacherError, match="LAB_TEST_KEY"): Client(teacher(server)).ask(questions(3))
    monkeypatch.setenv("LAB_TEST_KEY", "sk-\u00e4")
    with pytest.raises(TeacherError, match="LAB_TEST_KEY holds characters"): Client(teacher(server)).ask(questions(1))


def test_a_server_that_asks_for_tomorrow_is_not_waited_for():
    with FaultyServer(lambda body, n: "429 tomorrow") as server:
        reply, = Client(teacher(server)).ask(questions(1))
    assert reply.error.startswith("asked to wait 86400 s") and len(server.seen) == 1


def test_the_deadline_ends_a_call_and_the_next_one_goes_on(tmp_path):
    with FaultyServer(lambda body, n: "slow headers" if n == 0 and "3" in last_words(body) else None) as server:
        replies = Client(teacher(server, deadline=2), tmp_path / "j").ask(questions(6))
        assert [bool(r.error) for r in replies] == [False] * 3 + [True] + [False] * 2 and "teacher.deadline" in replies[3].error
        assert not any(r.error for r in Client(teacher(server), tmp_path / "j").ask(questions(6))) and len(server.seen) == 7


# ------------------------------------------------------------------ many at once
def test_500_requests_with_30_percent_faults(tmp_path):
    mix = [f for f in FAULTS if f not in ("slow headers", "stalled body", "429 date")]

    def script(body, n):
        rng = random.Random(f"{last_words(body)}/{n}")
        return rng.choice(mix) if rng.random() < 0.3 else None
    with FaultyServer(script, seconds=0.005) as server:
        client = Client(teacher(server, concurrency=32, max_retries=12), tmp_path / "j.jsonl")
        told = []
        replies = client.ask(questions(500), progress=told.append)
        faults = sum(s[2] is not None for s in server.seen)
        assert [r.text for r in replies] == [f"answer to question {i}" for i in range(500)], "order restored, none lost"
        assert set(server.answered.values()) == {1} and len(server.answered) == 500, "none doubled"
        assert server.peak <= 32 and sum(told) == 500
        assert faults > 120 and len(server.seen) == 500 + faults == client.counts["attempts"] and sum(client.retries.values()) == faults
        assert client.tokens["completion_tokens"] == 2500 and client.counts["failed"] == 0
        lines = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
        assert len(lines) == len({r["reply"]["key"] for r in lines}) == 500
        second = Client(teacher(server, concurrency=32), tmp_path / "j.jsonl")
        assert second.ask(questions(500)) == replies and len(server.seen) == 500 + faults and second.cost == 0


def test_what_fails_for_good_is_accounted_for_in_its_place(tmp_path):
    broken = {3, 11, 12}
    with FaultyServer(lambda body, n: "503" if int(last_words(body).split()[1]) in broken else None) as server:
        client = Client(teacher(server, max_retries=2), tmp_path / "j")
        replies = client.ask(questions(20))
        assert {i for i, r in enumerate(replies) if r.error} == broken and client.counts["failed"] == 3
        assert all(replies[i].error.startswith("gave up after 3 attempts: status 503") for i in broken)
        broken.clear(); before = len(server.seen)
        assert not any(r.error for r in Client(teacher(server), tmp_path / "j").ask(questions(20))) and len(server.seen) == before + 3


def test_equal_requests_are_sent_once_and_samples_are_not_equal():
    with FaultyServer() as server:
        chat = [{"role": "user", "content": "hello"}]
        replies = Client(teacher(server, seed=5)).ask([Request(chat, s) for s in (0, 1, 0)])
    assert len(server.seen) == 2 and sorted(s[4]["seed"] for s in server.seen) == [5, 6] and replies[0] == replies[2] and replies[1].sample == 1


# ------------------------------------------------------------------ killed
CHILD = """
import sys
sys.path[:0] = {path!r}
from test_endpoint import *
class Here: url = {url!r}
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
replies = Client(teacher(Here, concurrency=4), {journal!r}).ask(questions(60))
assert [r.text for r in replies] == [f"answer to question {{i}}" for i in range(60)]
"""


def child(server, journal):
    code = CHILD.format(path=[str(ROOT), str(ROOT / "tests")], url=server.url, journal=str(journal))
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "LAB_TEST_KEY": KEY}, stderr=subprocess.PIPE, text=True)


def wait_for(what, seconds=90):
    end = time.time() + seconds
    while not what():
        assert time.time() < end, "it took too long"
        time.sleep(0.01)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_goes_on_and_pays_for_nothing_twice(tmp_path, how):
    journal = tmp_path / "j.jsonl"
    with FaultyServer(seconds=0.05) as server:
        p = child(server, journal)
        wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 12)
        p.send_signal(how); p.wait(30)
        assert p.returncode == -how if how == signal.SIGKILL else "KeyboardInterrupt" in p.stderr.read()
        wait_for(lambda: server.now == 0)
        with open(journal, "ab") as f: f.write(b'{"request": {"model": "fau')       # as a kill in the middle of a write leaves it
        had = {json.loads(line)["request"]["messages"][0]["content"] for line in journal.read_bytes().split(b"\n")[:-1]}
        assert 12 <= len(had) < 60
        before, answered = len(server.seen), sum(server.answered.values())
        second = child(server, journal); _, err = second.communicate(timeout=90)
        assert second.returncode == 0, err
        asked = {s[1] for s in server.seen[before:]}
        assert not asked & had and asked | had == {f"question {i}" for i in range(60)}
        assert answered <= len(had) + 4, "what was under way at the kill may be lost, no more"
        third = child(server, journal); third.communicate(timeout=90)
        assert third.returncode == 0 and len(server.seen) == before + len(asked), "a third run asks for nothing"
        assert Journal(journal).torn == 1 and len(Journal(journal).known) == 60


# ------------------------------------------------------------------ feedback and traces
ADD = Problem(id="add", task="starter", family="f", prompt="Write add(a, b).", entry_point="add", reference="def add(a, b): return a + b\n")
FAILED = Verdict(status="runtime_error", log="NameError: b")
GOOD = {"filename": "x", "analysis": [{"issue": "i", "explanation": {"problem": "p", "reason": "r", "fix": "f"}}], "fixed_code": "def add(a, b): return a - b\n"}


def test_an_unusable_answer_is_asked_for_once_more_with_the_reason(tmp_path):
    def answer(body):
        if len(body["messages"]) > 2: return json.dumps(GOOD)
        return json.dumps({k: v for k, v in GOOD.items() if k != "fixed_code"})
    with FaultyServer(answer=answer) as server:
        found = FeedbackClient(teacher(server), tmp_path / "j").feedback_many([Program(ADD, "b", FAILED, "generated/add.py")])
        again = FeedbackClient(teacher(server), tmp_path / "j").feedback_many([Program(ADD, "b", FAILED, "generated/add.py")])
    assert found == again and len(server.seen) == 2
    assert found[0].asked_again and found[0].feedback.filename == "generated/add.py" and "fixed_code: Field required" in server.seen[1][1]


def test_set_aside_answers_are_counted_and_lie_in_the_run_folder(tmp_path):
    from grpo_lab.teacher import load_feedback
    stubborn = [ADD.model_copy(update={"id": f"p{i}", "prompt": f"Problem {i}."}) for i in range(4)]
    with FaultyServer(lambda body, n: "400" if "Problem 3" in str(body) else None, answer=lambda body: json.dumps(GOOD) if "Problem 1" in str(body) else "No.") as server:
        client = TeacherClient(teacher(server))
        programs = [Program(p, "b", FAILED) for p in stubborn]
        readings = client.feedback_many(programs)
        assert save_readings(tmp_path, 1, programs, readings) == [None, 1, None, None]
    kept, dropped = load_feedback(tmp_path, 1)
    assert list(kept) == ["p1"] and dropped == {"no JSON object in the answer": 2, "refused": 1} == client.summary()["set aside"]
    assert (tmp_path / "master_predictions/iteration_1/set_aside/p0.json").read_text() == "No."


def test_response_format_is_left_out_where_the_server_does_not_know_it(tmp_path):
    with FaultyServer(lambda body, n: "400" if "response_format" in body else None, answer=lambda body: json.dumps(GOOD)) as server:
        cfg = teacher(server, concurrency=1)
        programs = [Program(ADD.model_copy(update={"id": f"p{i}", "prompt": f"Problem {i}."}), "b", FAILED) for i in range(5)]
        assert all(r.feedback for r in FeedbackClient(cfg, tmp_path / "j").feedback_many(programs))
        assert ["response_format" in s[4] for s in server.seen] == [True] + [False] * 5
        FeedbackClient(cfg, tmp_path / "j").feedback_many(programs)
        assert len(server.seen) == 6, "the journal knows them under what was asked first"


def test_a_late_refusal_of_response_format_is_still_understood():
    "One request has already been answered without it when the others, sent before, are refused."
    late = lambda body: 0.3 if "response_format" in body and "Problem 0" not in str(body) else 0
    programs = [Program(ADD.model_copy(update={"id": f"p{i}", "prompt": f"Problem {i}."}), "b", FAILED) for i in range(8)]
    with FaultyServer(lambda body, n: "400" if "response_format" in body else None, answer=lambda body: json.dumps(GOOD), seconds=late) as server:
        assert all(r.feedback for r in FeedbackClient(teacher(server, concurrency=8)).feedback_many(programs))
    assert len(server.seen) == 16


def test_what_the_server_had_split_off_is_thinking():
    for field in ("reasoning_content", "reasoning"):
        with FaultyServer(answer=lambda body: "def add(a, b): return a + b", message={field: "they want a sum"}) as server:
            found = TeacherClient(teacher(server, enable_thinking=True, num_samples=2)).traces([ADD], messages=lambda p: [{"role": "user", "content": p.prompt}])
        assert [(t.thinking, t.answer, t.model) for t in found] == [("they want a sum", "def add(a, b): return a + b", "faulty")] * 2
        assert server.seen[0][4]["chat_template_kwargs"] == {"enable_thinking": True}


def test_an_unverified_fix_is_marked_and_used_only_by_setting(tmp_path):
    from grpo_lab.teacher import feedback_to_rows
    circuit = ADD.model_copy(update={"task": "circuits", "entry_point": "component", "reference": "component = 1\n"})
    wrong = {**GOOD, "fixed_code": "component = 2\n"}
    with FaultyServer(answer=lambda body: json.dumps(wrong)) as server: readings = FeedbackClient(teacher(server)).feedback_many([Program(circuit, "b", FAILED)])
    dirty = lambda items: [Verdict(status="runtime_error") for _ in items]
    for use in (False, True):
        save_readings(tmp_path, 1, [Program(circuit, "b", FAILED)], readings)
        s = Settings(stage2={"unverified_fixes": use}, teacher={"kind": "endpoint"})
        rows, counts = feedback_to_rows(tmp_path, 1, [circuit], s, verify=dirty)
        assert [r["verified"] for r in rows] == ([False] if use else []) and counts["dropped"] == ({} if use else {"not verified": 1})


def test_the_key_is_never_written(tmp_path):
    from grpo_lab.runs import create_run
    with FaultyServer(lambda body, n: ["500", "400", None][min(n, 2)] if "response_format" not in body else "400", answer=lambda body: "No.") as server:
        settings = Settings(outputs=str(tmp_path), teacher=teacher(server).model_dump())
        run = create_run(settings, "keyed")
        client = open_teacher(settings, run.dir / "replies" / "teacher.jsonl", examples=[ADD])
        programs = [Program(ADD, "b", FAILED)]
        save_readings(run.dir, 1, programs, client.feedback_many(programs))
        assert server.seen and all(s[3] == f"Bearer {KEY}" for s in server.seen)
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert any(f.name == "teacher.jsonl" and b"you sent Bearer ***" in f.read_bytes() for f in files), "the server did repeat it"
    assert not [f for f in files if KEY.encode() in f.read_bytes()] and KEY not in json.dumps(client.summary())


# ------------------------------------------------------------------ whatever a model writes
@given(st.text(alphabet="ab {}\"'\\\n`", max_size=60), st.text(alphabet="ab {}\"\n`", max_size=40), st.sampled_from(["{}", "```json\n{}\n```", "Sure:\n{}\nDone.", "<think>{{x}}</think>{}", "x</think>\n{}"]))
@hypothesis_settings(max_examples=150, deadline=None)
def test_wrapped_feedback_is_found_whole(code, word, wrapping):
    fb = Feedback.model_validate({**GOOD, "analysis": [{"issue": word, "explanation": {"problem": word, "reason": "r", "fix": "f"}}], "fixed_code": "x" + code})
    assert parse_feedback(wrapping.format(fb.model_dump_json()), "x")[0] == fb


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", "b", "\n", "c d"]), max_size=12).map("".join))
@hypothesis_settings(max_examples=200, deadline=None)
def test_splitting_loses_nothing_and_leaves_no_tag(text):
    thinking, answer = split_thinking(text)
    plain = text.replace("<think>", "").replace("</think>", "")
    assert sorted("".join((thinking + answer).split())) == sorted("".join(plain.split()))
    assert "think>" not in thinking + answer


@given(st.integers(1, 400))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_cut_off_answer_is_recovered_or_refused_with_a_reason(n):
    whole = json.dumps(GOOD)
    try: fb, how = parse_feedback(whole[:n], "x")
    except ValueError as e: assert str(e)
    else: assert fb.analysis[0].issue == "i" and GOOD["fixed_code"].startswith(fb.fixed_code) and (how == "as asked") == (n >= len(whole))


# ------------------------------------------------------------------ in a run
def test_a_stage_two_step_asks_the_endpoint_and_a_step_done_again_pays_nothing(tmp_path, monkeypatch):
    from grpo_lab.circuits import load_problems
    from grpo_lab.ledger import ledger_row
    from grpo_lab.records import Completion
    from grpo_lab.runs import RunError, check_data, create_run, open_step, teach
    monkeypatch.setenv("GRPO_LAB_ENGINE", "1")
    problems = load_problems("train")[:4]
    written = [Completion(problem_id=p.id, group_id=f"g/{p.id}", sample=0, text="x", code="x = 1", tokens=1) for p in problems]
    verdicts = [Verdict(status="runtime_error", log="NameError")] * 3 + [Verdict(status="ok", drc_errors=0, lvs_errors=0, devices=1, devices_expected=1)]
    with FaultyServer(lambda body, n: "503" if n == 0 else None, answer=lambda body: "No." if problems[1].prompt in str(body["messages"][1:]) else json.dumps(GOOD)) as server:
        run = create_run(Settings(outputs=str(tmp_path), profile="smoke", teacher=teacher(server, examples=2).model_dump()), "r")
        for attempt in (1, 2):
            step = open_step("2_self_improve_1", run.dir)       # the second time, what the first left is cleared
            step.ledger.write(step.id, [ledger_row(p, c, v) for p, c, v in zip(problems, written, verdicts)], "finetuned")
            said = teach(step, problems, written, verdicts, 1)
            issues = step.ledger.read(step.id).teacher_issues
            assert issues[[0, 2, 3]].tolist() == [1, 1, 0] and issues.isna().tolist() == [False, True, False, False]
            assert said["feedback"] == 3 and said["set aside"] and said.get("answered", 0) == (4 if attempt == 1 else 0)
            files = {f.name for f in (run.dir / "master_predictions/iteration_1").glob("*.json")}
            assert len(files) == 3 and len(server.seen) == 8, "three programs and one asked again, each turned away once"
    with pytest.raises(RunError, match="teacher.base_url"): check_data(Settings(teacher={"kind": "endpoint"}))


# ------------------------------------------------------------------ a real server with real weights
def listens(port):
    import socket
    with socket.socket() as s: return s.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.skipif(not (importlib.util.find_spec("fastapi") and importlib.util.find_spec("uvicorn")), reason="`transformers serve` needs fastapi and uvicorn: pip install 'transformers[serving]'")
def test_transformers_serve_with_real_weights(tmp_path):
    import socket
    from grpo_lab.student import weights_path
    with socket.socket() as s: s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
    weights = str(weights_path(Settings()))
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve", weights, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with open(tmp_path / "log", "wb") as log: p = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: p.poll() is not None or listens(port), 600)
        assert p.poll() is None, (tmp_path / "log").read_text()[-2000:]
        cfg = Teacher(kind="endpoint", base_url=f"http://127.0.0.1:{port}/v1", model=weights, max_tokens=24, temperature=0.0, concurrency=2)
        client = TeacherClient(cfg, tmp_path / "j.jsonl")
        traces = client.traces([ADD], n=1, messages=lambda q: [{"role": "user", "content": "Say hello."}])
        assert len(traces) == 1 and traces[0].answer and traces[0].usage["completion_tokens"] > 0 and traces[0].finish_reason in ("stop", "length"), (tmp_path / "log").read_text()[-800:]
        reading, = client.feedback_many([Program(ADD, "b", FAILED)])
        assert reading.reply.text and (reading.feedback or reading.why)      # 135 million parameters write no JSON: what counts is that it is said
    finally: p.terminate(); p.wait(30)
    offline = TeacherClient(cfg, tmp_path / "j.jsonl")
    assert offline.traces([ADD], n=1, messages=lambda q: [{"role": "user", "content": "Say hello."}]) == traces and offline.counts["attempts"] == 0


def test_recorded_replies_of_a_real_model_are_read_or_refused_with_a_reason():
    from collections import Counter
    from grpo_lab.replies import recorded
    found = Counter()
    for body, reply in recorded("qwen2.5-coder-1.5b"):
        assert body["model"] == reply.model == "qwen2.5-coder-1.5b-instruct" and reply.usage["completion_tokens"] > 0 and reply.answer
        try: found[parse_feedback(reply.text, "x.py")[1]] += 1
        except ValueError as e: found[str(e)] += 1
    assert found == {"as asked": 5, "repaired": 2, "fixed_code: it is empty": 4}
