"""What this machine can promise, asked of the kernel and never assumed."""
import sys
from dataclasses import dataclass, field

LEVELS = ("strong", "no-landlock", "no-seccomp", "none")        # from the best to the worst


class SandboxError(RuntimeError):
    "The sandbox cannot be had as asked; the message says why and what to do."


@dataclass
class Strength:
    "How well untrusted programs are contained here. str() gives the one-line report."
    level: str                       # strong | no-landlock | no-seccomp | none
    text: str                        # 'strong', 'weaker: no Landlock', ...
    landlock: int = 0                # Landlock ABI version, 0 where there is none
    seccomp: bool = False            # system call filters
    details: list = field(default_factory=list)    # sentences for `grpo-lab check`

    def __str__(self): return self.text

    def require(self, wanted):
        "Raise SandboxError unless this machine is at least as strong as `wanted`."
        wanted = str(wanted).replace("_", "-")
        if wanted not in LEVELS:
            raise ValueError(f"strength must be one of {', '.join(LEVELS)}, not {wanted!r}")
        if LEVELS.index(self.level) > LEVELS.index(wanted):
            raise SandboxError(f"this machine cannot contain untrusted programs as asked: {self.text}. "
                               + " ".join(self.details) + f' To run them all the same, name the weaker mode: strength="{self.level}".')


def strength(without=()):
    "The Strength of this machine; `without` pretends that 'landlock' or 'seccomp' is missing."
    if not sys.platform.startswith("linux"):
        where = {"darwin": "macOS", "win32": "Windows"}.get(sys.platform, sys.platform)
        return Strength("none", f"none: {where}", details=[
            f"The sandbox needs a Linux kernel (5.13 or newer); on {where} run the lab in a Linux virtual machine or container"
            + (", for instance WSL 2." if where == "Windows" else ", for instance with Lima, Colima or Docker Desktop.")])
    from . import kernel
    if kernel.ARCH not in kernel.TESTED:
        return Strength("none", f"none: untested machine type {kernel.ARCH}", details=[
            f"The system call filter has been tested on {', '.join(kernel.TESTED)} only."])
    landlock = 0 if "landlock" in without else kernel.landlock_abi()
    seccomp = "seccomp" not in without and kernel.seccomp_available()
    details = []
    if not seccomp: details.append("No seccomp filters: programs could start processes and use the network (old kernel, or a container profile forbids it).")
    if not landlock: details.append("No Landlock: files are guarded by the system call filter alone (kernel older than 5.13, or it was left out at boot).")
    if seccomp and landlock: return Strength("strong", "strong", landlock, True, [f"seccomp allow-list, Landlock ABI {landlock}, rlimits, no capabilities."])
    if seccomp: return Strength("no-landlock", "weaker: no Landlock", 0, True, details)
    if landlock: return Strength("no-seccomp", "weaker: no seccomp", landlock, False, details)
    return Strength("none", "weaker: neither seccomp nor Landlock", 0, False, details)
