"""Ours beside PyTorch, ONNX Runtime and OpenVINO: the same weights, the same images, asked in turn.

    compare.py VIDIMUS TRAINING DATA CACHE [--quick] [--json] [--only TASK[,TASK]] [--networks NAME[,NAME]]

VIDIMUS is the program; TRAINING the engine's example `training`. See README.md for what the figures mean.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from processes import Worker

HERE = Path(__file__).parent
PROFILE = "f32-exact"
NETWORKS = ("resnet18", "densenet121", "unet", "meshnet-tissue", "meshnet-subcortical")
PLANES = NETWORKS[:3]
PEERS = ("onnxruntime", "openvino", "pytorch")
AGREEMENT = {"forward": 1e-4, "grad-cam": 1e-3, "integrated-gradients": 1e-3}      # of the largest value
TASKS = ("forward", "grad-cam", "integrated-gradients", "training-step", "start", "clinical-read")
# measured rounds: (full, quick)
ROUNDS = {"forward": (9, 5), "forward x 8": (5, 2), "grad-cam": (7, 3), "integrated-gradients": (3, 1),
          "training-step": (9, 5), "start": (5, 3), "clinical-read": (4, 2)}


class Comparison:
    def __init__(self, arguments):
        self.vidimus, self.training = Path(arguments.vidimus), Path(arguments.training)
        self.data, self.cache = Path(arguments.data), Path(arguments.cache)
        self.quick, self.json = arguments.quick, arguments.json
        self.networks = [name for name in NETWORKS if name in arguments.networks]
        self.rows, self.faults, self.base = [], [], None

    def rounds(self, task):
        return ROUNDS[task][self.quick]

    def ours(self, name, batch, threads, task):
        meshnet = name.startswith("meshnet")
        folder = HERE.parents[1] / "models/networks/published" if meshnet else HERE / "architectures"
        weights = self.data / "weights" / name if meshnet else self.cache / "weights"
        images = self.cache / "peers" / f"{name}.images.safetensors"
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
        return Worker([self.vidimus, "model", "bench", "--architecture", folder / f"{name}.toml",
                       "--weights", weights / f"{name}.safetensors", "--input", images, "--task", task,
                       "--batch", batch, "--threads", threads], environment)

    def peer(self, peer, name, batch, threads, task):
        # a clean process: no byte code written, no threads but those asked for
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, HERE / "worker.py", peer, name, batch, threads, task, self.data, self.cache]
        return Worker(command, environment)

    def spawn(self, who, *job):
        return self.ours(*job) if who == "ours" else self.peer(who, *job)

    def agree(self, workers, name, task):
        """Every peer's result against ours, before anything is timed."""
        with tempfile.TemporaryDirectory() as folder:
            ours = Path(folder) / "ours.safetensors"
            workers["ours"].ask(f"write {ours}")
            expected = load_file(ours)["output"]
            worst = 0.0
            for who, worker in workers.items():
                if who in PEERS:
                    worker.ask(f"write {folder}/{who}.npy")
                    found = np.load(f"{folder}/{who}.npy")
                    off = np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max()
                    assert off <= AGREEMENT[task], f"{name} {task}: {who} and ours differ by {off:.1e} of the largest value"
                    worst = max(worst, float(off))
        return worst

    def measure(self, name, batch, threads, task, peers, extra=()):
        """One row, or a fault: the other rows are worth having all the same, and the exit code tells."""
        try:
            self.interleave(name, batch, threads, task, peers, extra)
        except (AssertionError, RuntimeError, OSError, KeyError) as fault:
            self.faults.append(f"{name} {task}, batch {batch}, {threads} threads: {fault!r}")
            print(self.faults[-1], file=sys.stderr, flush=True)

    def interleave(self, name, batch, threads, task, peers, extra):
        """All asked in turn, the first of each round another one each time."""
        clock = "cpu" if threads == 1 else "wall"
        workers, series = {}, {}
        try:
            for who in ("ours", *peers):
                workers[who] = self.spawn(who, name, batch, threads, task)
                workers[who].ask()
            for label, other in extra:
                workers[label] = self.ours(name, batch, threads, other)
                workers[label].ask()
            peak = {who: worker.peak_mib() for who, worker in workers.items()}
            agreement = self.agree(workers, name, task) if task != "training-step" else None
            series = {who: [] for who in workers}
            for number in range(self.rounds("forward x 8" if task == "forward" and batch > 1 else task)):
                order = list(workers)
                for who in order[number % len(order):] + order[:number % len(order)]:
                    series[who].append(workers[who].ask()[clock])
        finally:
            for worker in workers.values():
                worker.__exit__()
        row = self.row(name, batch, threads, task, series)
        row["clock"], row["agreement"] = clock, agreement
        row["peak_mib"] = round(peak["ours"], 1)
        if "onnxruntime" in peak:
            row["peak_mib_onnxruntime"] = round(peak["onnxruntime"] - self.python_mib(), 1)
        for label, _ in extra:
            row[f"ratio_{label}"] = ratio(series["ours"], series[label])
        self.put(row)

    def row(self, name, batch, threads, task, series):
        row = {"network": name, "profile": PROFILE, "batch": batch, "threads": threads, "task": task}
        for who in ("ours", "onnxruntime", "pytorch", "openvino"):
            row[f"{who}_ms"] = round(statistics.median(series[who]), 2) if series.get(who) else None
        for who in ("onnxruntime", "pytorch", "openvino"):
            row[f"ratio_{who}"] = ratio(series["ours"], series[who]) if series.get(who) else None
        return row | {"peak_mib": None, "peak_mib_onnxruntime": None, "rounds": len(series["ours"])}

    def put(self, row):
        self.rows.append(row)
        print(json.dumps(row) if self.json else line(row), flush=True)

    def python_mib(self):
        """The peak of a process that imported ONNX Runtime and loaded nothing."""
        if self.base is None:
            with self.peer("import-only", "-", 1, 1, "-") as worker:
                worker.ask()
                self.base = worker.peak_mib(), worker.cpu_ms()
        return self.base[0]

    def forward(self):
        for name in self.networks:
            for threads in (1, 2):
                self.measure(name, 1, threads, "forward", PEERS)
        for name in self.networks:
            for threads in (2,) if self.quick else (1, 2):
                # PyTorch's 3-D convolutions would take minutes
                self.measure(name, 8, threads, "forward", PEERS if name in PLANES else PEERS[:2])

    def grad_cam(self):
        for name in self.networks:
            for batch in ((1,) if self.quick else (1, 8)) if name in PLANES else ():
                for threads in (1, 2):
                    self.measure(name, batch, threads, "grad-cam", ("pytorch",), extra=[("forward", "forward")])

    def integrated_gradients(self):
        for name in self.networks:
            for threads in (1, 2) if name in PLANES and not (self.quick and name == "unet") else (2,) if name in PLANES else ():
                self.measure(name, 1, threads, "integrated-gradients", ("pytorch",))

    def training_step(self):
        if not self.training.exists():
            raise RuntimeError("the engine has no example `training` to be built")
        for threads in (1, 2):
            environment = os.environ | {"RAYON_NUM_THREADS": str(threads)}
            with Worker([self.training, "--serve"], environment) as ours, \
                    self.peer("pytorch", "cnn-16", 16, threads, "training-step") as peer:
                workers, clock = {"ours": ours, "pytorch": peer}, "cpu" if threads == 1 else "wall"
                series = {who: [] for who in workers}
                for number in range(self.rounds("training-step") + 2):
                    for who, worker in workers.items():
                        took = worker.ask()[clock]
                        if number >= 2:
                            series[who].append(took)
                self.put(self.row("cnn-16", 16, threads, "training-step", series) | {"clock": clock})

    def start(self):
        """CPU time from the process's start to its first answer, one thread, batch 1."""
        for name in self.networks:
            series = {who: [] for who in ("ours", "onnxruntime", "openvino")}
            for _ in range(self.rounds("start")):
                for who in series:
                    with self.spawn(who, name, 1, 1, "forward") as worker:
                        worker.ask()
                        series[who].append(worker.cpu_ms())
            row = self.row(name, 1, 1, "start", series) | {"clock": "cpu"}
            self.python_mib()
            without = [value - self.base[1] for value in series["onnxruntime"]]
            row["onnxruntime_ms_without_python"] = round(statistics.median(without), 2)
            row["ratio_onnxruntime_without_python"] = ratio(series["ours"], without)
            self.put(row)

    def clinical_read(self):
        """The product's own reading of the sample radiographs, by `vidimus read` at a fresh site, after the first one."""
        with tempfile.TemporaryDirectory() as folder:
            site = Path(folder) / "site"
            run = lambda *a: subprocess.run([self.vidimus, *a, "--dir", site, "--json"], capture_output=True, text=True, check=True)
            run("demo", "--no-serve")
            films = sorted((site / "samples").glob("*.dcm"))
            took = []
            for turn in range(self.rounds("clinical-read")):
                lines = run("read", *films, "--out", Path(folder) / f"out-{turn}").stdout.splitlines()
                readings = [json.loads(text) for text in lines if text.startswith("{")]
                took += [sum_of(reading["timing_ms"]) for reading in readings[1:]]
            row = self.row("cxr-pneumonia", 1, os.cpu_count(), "clinical-read", {"ours": took})
            self.put(row | {"clock": "wall", "ours_ms_max": round(max(took), 2)})


def sum_of(timing):
    return timing["total"] if "total" in timing else sum(timing.values())


def ratio(ours, peer):
    """The median of the rounds' ratios."""
    return round(statistics.median(a / b for a, b in zip(ours, peer)), 3)


def line(row):
    number = lambda key, width, digits: f"{row[key]:{width}.{digits}f}" if row.get(key) is not None else " " * (width - 1) + "-"
    cells = [f"{row['network']:20}{row['task']:21}{row['batch']:5}{row['threads']:8}  {row.get('clock', ''):5}"]
    cells += [number(f"{who}_ms", 10, 1) for who in ("ours", "onnxruntime", "pytorch", "openvino")]
    cells += [number(f"ratio_{who}", 8, 3) for who in ("onnxruntime", "pytorch", "openvino")]
    cells += [number("peak_mib", 8, 0), number("peak_mib_onnxruntime", 8, 0)]
    notes = [f"{key} {row[key]}" for key in ("ratio_forward", "ratio_onnxruntime_without_python", "ours_ms_max") if row.get(key) is not None]
    return "".join(cells) + "  " + ", ".join(notes)


HEAD = (f"{'network':20}{'task':21}{'batch':>5}{'threads':>8}  {'clock':5}{'ours ms':>10}{'ORT':>10}{'PyTorch':>10}{'OpenVINO':>10}"
        f"{'/ORT':>8}{'/Torch':>8}{'/OpenV':>8}{'MiB':>8}{'ORT MiB':>8}")


def main():
    parser = argparse.ArgumentParser()
    for name in ("vidimus", "training", "data", "cache"):
        parser.add_argument(name)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, below 8 minutes")
    parser.add_argument("--json", action="store_true", help="one object a row")
    parser.add_argument("--only", default=",".join(TASKS), help="tasks, with commas between")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="networks, with commas between")
    arguments = parser.parse_args()
    comparison = Comparison(arguments)
    for name in comparison.networks:
        inputs = comparison.cache / "peers" / f"{name}.images.safetensors"
        if not inputs.exists():
            save_file({"input": np.load(comparison.cache / "peers" / f"{name}.8.npy")}, inputs)
    if not arguments.json:
        print(HEAD)
    for task in TASKS:
        if task in arguments.only.split(","):
            try:
                getattr(comparison, task.replace("-", "_"))()
            except (AssertionError, RuntimeError, OSError, KeyError, subprocess.CalledProcessError) as fault:
                comparison.faults.append(f"{task}: {fault!r}")
                print(comparison.faults[-1], file=sys.stderr, flush=True)
    sys.exit(1 if comparison.faults else 0)


if __name__ == "__main__":
    main()
