"""The sandbox: model-written programs run in hardened children and can forge nothing.

    from grpo_lab.sandbox import Pool, Limits, Outcome, strength
    print(strength())                                   # 'strong', 'weaker: no Landlock', ...
    with Pool(workers=2, preload="my.guest") as pool:   # my.guest defines prepare() and run(payload) -> bytes
        pool.run(b"payload")                            # Outcome(status, reply, log, seconds, ...)

Code problems (asserts or stdin/stdout pairs; tests and expected values stay in a judge process):

    from grpo_lab.sandbox import verify_code, CodeVerifier
    verify_code("def f(x): return x + 1", ["assert f(1) == 2"])      # a dict with the fields of Verdict
    with CodeVerifier(workers=2) as v: v.verify([{"code": ..., "tests": [...]}, ...])

Plain Python, standard library only.
"""
from .pool import Limits, Outcome, Pool
from .strength import SandboxError, Strength, strength
from .verify import CodeVerifier, calibrate, reward, verify_code

__all__ = ["Pool", "Limits", "Outcome", "strength", "Strength", "SandboxError",
           "verify_code", "CodeVerifier", "calibrate", "reward"]
