"""A real model as the teacher: what its feedback and its worked answers are worth, by the verifiers' word.

    python benchmarks/teacher_model.py --base-url http://127.0.0.1:8091/v1 --model NAME --run outputs/RUN --journal replies.jsonl

Needs a server (any OpenAI-compatible one) and a finished run, of which the programs of iteration 1 of stage 2 are read (nothing in it is changed).

    circuits   one stage-2 iteration: the model reads the failing programs, its fixed programs are built and checked (DRC, LVS)
    mbpp       worked answers to training problems, each judged by the problem's own asserts

Killed or out of time (--seconds, for each part), it goes on from the journal when it is started again. Replies that were never obtained are counted
as such and are in no share. Writes benchmarks/results/teacher_qwen.json.
"""
import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def programs_of(run, n):
    "Every so-manieth failing program of the run's first iteration, with its verdict."
    import pandas as pd
    from grpo_lab.circuits import load_problems
    from grpo_lab.endpoint import Program
    from grpo_lab.records import Verdict
    from grpo_lab.teacher import file_stem
    problems = {p.id: p for p in load_problems("train")}
    found = []
    for r in pd.read_parquet(Path(run) / "ledger" / "2_self_improve_1--finetuned.parquet").to_dict("records"):
        if r["clean"] or r["problem_id"] not in problems: continue
        counts = {k: None if pd.isna(r[k]) else int(r[k]) for k in ("drc_errors", "lvs_errors", "devices", "devices_expected")}
        verdict = Verdict(status=r["status"], log=r["log"] or "", error_details=json.loads(r["error_details"]), **counts)
        name = f"generated/iteration_1/finetuned/{file_stem(r['problem_id'])}.py"
        found.append(Program(problems[r["problem_id"]], None if pd.isna(r["code"]) else r["code"], verdict, name))
    return spread(found, n), list(problems.values())


def spread(items, n):
    "n of the items, evenly from first to last."
    return items if not 0 < n < len(items) else [items[i * len(items) // n] for i in range(n)]


def share(part, whole): return {"n": part, "of": whole, "share": round(part / whole, 3) if whole else None}


def spent(replies):
    "Tokens and seconds of the replies that came."
    tokens, seconds = sum(r.usage.get("completion_tokens", 0) for r in replies), sum(r.seconds for r in replies)
    return {"replies": len(replies), "prompt_tokens": sum(r.usage.get("prompt_tokens", 0) for r in replies), "completion_tokens": tokens,
            "seconds": round(seconds, 1), "completion_tokens_per_second": round(tokens / seconds, 2) if seconds else None}


def circuits(settings, o):
    from grpo_lab.endpoint import open_teacher
    from grpo_lab.teacher import clean_code
    from grpo_lab.verify import open_verifier
    programs, problems = programs_of(o.run, o.programs)
    teacher = open_teacher(settings, o.journal, examples=problems)
    readings = teacher.feedback_many(programs)
    got = [(p, r) for p, r in zip(programs, readings) if r.feedback is not None]
    fixed = [clean_code(r.feedback.fixed_code, p.problem.entry_point)[0] for p, r in got]      # as the conversion to training rows does it
    with open_verifier(settings) as verifier: verdicts = verifier.verify([(p.problem, code) for (p, _), code in zip(got, fixed)])
    replied = [r for r in readings if not r.reply.error]
    return {"programs": len(programs), "answered": len(replied), "examples_shown": [p.id for p in teacher.examples],
            "valid_feedback": share(len(got), len(replied)), "read": dict(Counter(r.how for _, r in got)), "asked_again": sum(r.asked_again for r in readings),
            "set_aside": dict(teacher.set_aside), "issues": sum(len(r.feedback.analysis) for _, r in got),
            "fixed_code_status": dict(Counter(v.status for v in verdicts)), "fixed_code_verifies": share(sum(v.clean for v in verdicts), len(got)),
            "fixed_code_is_the_reference": sum(code.split() == p.problem.reference.split() for (p, _), code in zip(got, fixed)),
            "verified": sorted(p.problem.id for (p, _), v in zip(got, verdicts) if v.clean), "spent": spent([r.reply for r in replied])}


def mbpp(settings, o):
    from grpo_lab.endpoint import TeacherClient, Request, request_body, request_key, task_messages
    from grpo_lab.records import extract_code
    from grpo_lab.tasks import load_problems
    from grpo_lab.verify import open_verifier
    settings = settings.model_copy(update={"task": "mbpp"})
    problems = spread(load_problems("mbpp", "train", o.mbpp_folder or None), o.mbpp)
    teacher = TeacherClient(settings.teacher, o.journal)
    by = {p.id: p for p in problems}
    traces = teacher.traces(problems, n=1)
    with open_verifier(settings) as verifier: verdicts = verifier.verify([(by[t.problem_id], extract_code(t.answer)) for t in traces])
    key = lambda p: request_key(request_body(settings.teacher, Request(task_messages(p))))
    replied = [teacher.journal.known[k] for p in problems if (k := key(p)) in teacher.journal.known]
    return {"problems": len(problems), "answered": len(replied), "traces": len(traces), "set_aside": dict(teacher.set_aside),
            "status": dict(Counter(v.status for v in verdicts)), "passes_all_asserts": share(sum(v.clean for v in verdicts), len(replied)), "spent": spent(replied)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--base-url", required=True); p.add_argument("--model", required=True)
    p.add_argument("--run", required=True, help="a finished run folder on circuits")
    p.add_argument("--journal", required=True, help="file that keeps the replies")
    p.add_argument("--programs", type=int, default=0, help="failing programs to read; 0: all"); p.add_argument("--mbpp", type=int, default=50, help="MBPP problems; 0: all")
    p.add_argument("--mbpp-folder", default="", help="where MBPP lies, if not where the task finds it")
    p.add_argument("--max-tokens", type=int, default=600); p.add_argument("--concurrency", type=int, default=4)
    p.add_argument("--response-format", default="json_schema"); p.add_argument("--seconds", type=float, default=0, help="deadline of each part; 0: none")
    p.add_argument("--label", default="{}", help="JSON with what made the replies: weights, quantisation, server")
    p.add_argument("--only", choices=["circuits", "mbpp"]); p.add_argument("--out", default=str(ROOT / "benchmarks" / "results" / "teacher_qwen.json"))
    o = p.parse_args()
    from grpo_lab.config import Settings
    from grpo_lab.runs import versions
    settings = Settings(teacher=dict(kind="endpoint", base_url=o.base_url, model=o.model, temperature=0.0, max_tokens=o.max_tokens, concurrency=o.concurrency,
                                     timeout=7200, max_retries=20, deadline=o.seconds, response_format=o.response_format))
    out = Path(o.out)
    doc = json.loads(out.read_text()) if out.exists() else {}
    for name, part in (("circuits", circuits), ("mbpp", mbpp)):
        if o.only in (None, name): doc[name] = part(settings, o); print(json.dumps({name: doc[name]}, indent=1), flush=True)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.processor())
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    head = dict(command=f"python benchmarks/teacher_model.py --model {o.model} --programs {o.programs} --mbpp {o.mbpp} --max-tokens {o.max_tokens} --concurrency {o.concurrency} "
                        f"--response-format {o.response_format}", date=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), commit=commit, teacher=json.loads(o.label),
                machine=dict(cpu=cpu, cores=os.cpu_count(), load=round(os.getloadavg()[0], 2), nice=os.nice(0)), versions=versions())
    doc = {**head, **{k: doc[k] for k in ("note", "circuits", "mbpp") if k in doc}}
    out.parent.mkdir(parents=True, exist_ok=True)
    tmp = out.with_suffix(".tmp"); tmp.write_text(json.dumps(doc, indent=1) + "\n"); os.replace(tmp, out)


if __name__ == "__main__": main()
