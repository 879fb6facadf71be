"""The sandbox: model-written programs run in hardened children and can forge nothing.

    from grpo_lab.sandbox import Pool, Limits, Outcome, strength
    print(strength())                                   # 'strong', 'weaker: no Landlock', ...
    with Pool(workers=2, preload="my.guest") as pool:   # my.guest defines prepare() and run(payload) -> bytes
        pool.run(b"payload")                            # Outcome(status, reply, log, seconds, ...)

Plain Python, standard library only.
"""
from .pool import Limits, Outcome, Pool
from .strength import SandboxError, Strength, strength

__all__ = ["Pool", "Limits", "Outcome", "strength", "Strength", "SandboxError"]
