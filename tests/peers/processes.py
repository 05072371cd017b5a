"""Processes that answer lines, and what the system says of them.

Time: a one-thread figure is the process's own CPU time between question and answer (so other work on the machine counts
little); with two threads it is wall time. Memory: the peak resident set (VmHWM).
"""
import json
import subprocess
import time

PAUSE_S = 0.03      # between questions, so that a peer's spinning threads have gone to sleep before another is asked


class Worker:
    """A child that answers each line with one line of JSON."""

    def __init__(self, command, environment=None):
        self.child = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True, env=environment)
        # Linux's name for the CPU clock of a whole process
        self.clock = (~self.child.pid << 3) | 2

    def cpu_ms(self):
        return 1e3 * time.clock_gettime(self.clock)

    def ask(self, line="run"):
        """CPU and wall milliseconds of one answer."""
        before = self.cpu_ms()
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        if not answer:
            raise RuntimeError(f"no answer from {' '.join(map(str, self.child.args))}: exit code {self.child.wait()}")
        took = {"cpu": self.cpu_ms() - before, "wall": json.loads(answer)["wall_ms"]}
        time.sleep(PAUSE_S)
        return took

    def peak_mib(self):
        with open(f"/proc/{self.child.pid}/status") as status:
            (line,) = [line for line in status if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024

    def close(self):
        self.child.stdin.close()
        self.child.wait(timeout=60)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
