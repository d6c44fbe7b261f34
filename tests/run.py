"""Runs the suites of AetherFS; scripts/test is the way to call it.

Every suite builds what it needs, runs under a time limit of its own, writes its output to
build/test-logs/ and reports how many tests passed and failed. A suite that ran nothing has failed: a
test that is silently not there is worse than one that is red. The last line is `N passed, N failed`.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build/test-logs"
TAIL_LINES = 60
JOBS = os.environ.get("AETHERFS_JOBS", str(os.cpu_count() or 2))
SYMBOLIZER = "/usr/lib/llvm-19/bin/llvm-symbolizer"

# Layers that only compute on values, in the thread that calls: ThreadSanitizer would see nothing in them.
SEQUENTIAL_TESTS = ("config_test", "format_test")

BUILD_TIMEOUT_S = 60 * 60
BINARY_TIMEOUT_S = 300
SANITIZED_BINARY_TIMEOUT_S = 900
PYTEST_TIMEOUT_S = 20 * 60
FUZZ_TIMEOUT_S = 15 * 60
FUZZ_SECONDS = 10  # each target


@dataclasses.dataclass
class Result:
    passed: int = 0
    failed: int = 0
    build_s: float = 0
    logs: list = dataclasses.field(default_factory=list)  # of what failed
    notes: list = dataclasses.field(default_factory=list)

    def add(self, other: "Result") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.build_s += other.build_s
        self.logs += other.logs
        self.notes += other.notes


def run(command, log: pathlib.Path, timeout_s: float, environment=None) -> int:
    """Runs a command with no input, its output into `log`. 124 if it took too long."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        out.write(f"$ {' '.join(map(str, command))}\n".encode())
        out.flush()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            out.write(f"\nended after {timeout_s:.0f} s, which is its limit\n".encode())
            return 124
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def new_log(name: str) -> pathlib.Path:
    log = LOGS / f"{name}.log"
    log.unlink(missing_ok=True)
    return log


def build(preset: str, targets, purpose: str = "") -> Result:
    """Builds targets; a failure counts as one failed test, success as none.

    `purpose` keeps the log of a second build with one preset apart from that of the first.
    """
    log = new_log("-".join(filter(None, ("build", preset, purpose))))
    started = time.monotonic()
    status = run(["scripts/build", "--preset", preset, *targets], log, BUILD_TIMEOUT_S)
    result = Result(build_s=time.monotonic() - started)
    if status != 0:
        result.failed = 1
        result.logs.append(log)
        result.notes.append(f"the {preset} build failed")
    return result


def test_programs(preset: str) -> dict:
    """The unit tests that CMake knows: name to command. Asking CMake keeps stale files out."""
    directory = ROOT / "build" if preset == "release" else ROOT / "build" / preset
    subprocess.run(["cmake", "--preset", preset], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    listing = subprocess.run(
        ["ctest", "--test-dir", directory, "--show-only=json-v1"], cwd=ROOT, check=True, capture_output=True
    )
    found = {}
    for test in json.loads(listing.stdout)["tests"]:
        name = test["name"]
        # Before the first build CMake does not know the path yet.
        found[name] = test.get("command", [str(directory / "tests" / name)])
    return found


def run_google_test(command, log: pathlib.Path, timeout_s: float, environment=None) -> Result:
    status = run([*command, "--gtest_color=no"], log, timeout_s, environment)
    output = log.read_text(errors="replace")
    result = Result(passed=len(re.findall(r"^\[       OK \] ", output, re.MULTILINE)))
    # The summary at the end repeats names, without times.
    result.failed = len(re.findall(r"^\[  (?:FAILED|SKIPPED)\s+\] .*\(\d+ ms\)$", output, re.MULTILINE))
    if status != 0 and result.failed == 0:
        result.failed = 1
        result.notes.append(f"{pathlib.Path(command[0]).name} ended with status {status}")
    if result.passed + result.failed == 0:
        result.failed = 1
        result.notes.append(f"{pathlib.Path(command[0]).name} ran no test")
    if result.failed:
        result.logs.append(log)
    return result


def run_pytest(name: str, directory: str, extra, timeout_s: float) -> Result:
    log = new_log(name)
    report = LOGS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = ["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=short", "--durations=15"]
    status = run(
        [*command, f"--junitxml={report}", directory, *extra],
        log,
        timeout_s,
        {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    result = Result()
    if report.exists():
        for suite in xml.etree.ElementTree.parse(report).getroot().iter("testsuite"):
            total = int(suite.get("tests"))
            result.failed += sum(int(suite.get(kind)) for kind in ("failures", "errors", "skipped"))
            result.passed += max(0, total - result.failed)
    if status != 0 and result.failed == 0:
        result.failed = 1
        result.notes.append(f"pytest ended with status {status}")
    if result.failed:
        result.logs.append(log)
    return result


def style(extra) -> Result:
    log = new_log("style")
    run(["scripts/lint"], log, 300)
    lines = log.read_text().splitlines()
    result = Result(sum(line.startswith("ok ") for line in lines), sum(line.startswith("FAIL ") for line in lines))
    if result.failed:
        result.logs.append(log)
    return result


def unit(extra) -> Result:
    return google_tests("unit", "release", (), extra, BINARY_TIMEOUT_S, {})


def asan(extra) -> Result:
    environment = {
        "ASAN_OPTIONS": f"detect_stack_use_after_return=1:strict_string_checks=1:external_symbolizer_path={SYMBOLIZER}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:external_symbolizer_path={SYMBOLIZER}",
        "LSAN_OPTIONS": f"suppressions={ROOT}/tests/lsan.supp:print_suppressions=0",
    }
    result = google_tests("asan", "asan-ubsan", (), extra, SANITIZED_BINARY_TIMEOUT_S, environment)
    result.add(planted("asan", "asan-ubsan", ("use-after-free", "overflow"), environment))
    return result


def tsan(extra) -> Result:
    options = f"suppressions={ROOT}/tests/tsan.supp:history_size=4:second_deadlock_stack=1:ignore_noninstrumented_modules=1"
    environment = {"TSAN_OPTIONS": f"{options}:external_symbolizer_path={SYMBOLIZER}"}
    result = google_tests("tsan", "tsan", SEQUENTIAL_TESTS, extra, SANITIZED_BINARY_TIMEOUT_S, environment)
    result.add(planted("tsan", "tsan", ("race",), environment))
    return result


def planted(suite: str, preset: str, bugs, environment) -> Result:
    """That a sanitizer would speak: a correct program passes, each planted bug is caught."""
    result = build(preset, ["sanitizer_planted"], "planted")
    for bug in ("none", *bugs) if not result.failed else ():
        log = new_log(f"{suite}-planted-{bug}")
        status = run([ROOT / "build" / preset / "tests/sanitizer_planted", bug], log, BINARY_TIMEOUT_S, environment)
        output = log.read_text(errors="replace")
        caught = status != 0 and ("Sanitizer" in output or "runtime error" in output)
        if caught == (bug != "none"):
            result.passed += 1
        else:
            result.failed += 1
            result.notes.append(f"planted bug '{bug}': {'reported' if caught else 'not noticed'}")
            result.logs.append(log)
    return result


def google_tests(suite: str, preset: str, without, extra, timeout_s: float, environment) -> Result:
    programs = test_programs(preset)
    for name in without:
        if name not in programs:
            return Result(failed=1, notes=[f"there is no {name} to leave out"])
    programs = {name: command for name, command in programs.items() if name not in without}
    result = build(preset, programs)
    if result.failed:
        return result
    # One for each core; the last layers first, for their tests take longest.
    with concurrent.futures.ThreadPoolExecutor(int(JOBS)) as pool:
        runs = [
            pool.submit(run_google_test, [*command, *extra], new_log(f"{suite}-{name}"), timeout_s, environment)
            for name, command in reversed(programs.items())
        ]
        for finished in runs:
            result.add(finished.result())
    return result


def s3(extra) -> Result:
    """The conformance suite of object stores against a real S3 server."""
    result = build("release", ["object_s3_conformance"])
    if result.failed:
        return result
    from tests.harness import rgw  # only this suite wants the gateway here

    with rgw.running() as gateway:
        binary = ROOT / "build/tests/object_s3_conformance"
        result.add(run_google_test([binary, *extra], new_log("s3"), BINARY_TIMEOUT_S, gateway.environment()))
    return result


BINARIES = ("aetherfs", "aetherfs-agent", "aetherfs-server")


def integration(extra) -> Result:
    result = build("release", BINARIES)
    if not result.failed:
        result.add(run_pytest("integration", "tests/integration", extra, PYTEST_TIMEOUT_S))
    return result


def faults(extra) -> Result:
    result = build("release", BINARIES)
    if not result.failed:
        result.add(run_pytest("faults", "tests/faults", extra, PYTEST_TIMEOUT_S))
    return result


def cluster(extra) -> Result:
    """Several servers on hosts of their own, with a network between them that breaks."""
    result = build("release", BINARIES)
    if not result.failed:
        result.add(run_pytest("cluster", "tests/cluster", extra, PYTEST_TIMEOUT_S))
    return result


def fuzz(extra) -> Result:
    """Each fuzz target for a few seconds, beginning with its corpus of malformed inputs."""
    result = build("fuzz", ["fuzzers"])
    if result.failed:
        return result
    log = new_log("fuzz")
    status = run(["scripts/fuzz", *(extra or [FUZZ_SECONDS])], log, FUZZ_TIMEOUT_S)
    output = log.read_text(errors="replace")
    begun = re.findall(r"^fuzz: (\S+) for \d+ s$", output, re.MULTILINE)
    found = re.findall(r"^fuzz: found something in: (.*)$", output, re.MULTILINE)
    failed = found[0].split() if found else []
    result.passed = len(begun) - len(failed)
    result.failed = len(failed)
    if status != 0 and result.failed == 0:
        result.failed = 1
        result.notes.append(f"scripts/fuzz ended with status {status}")
    if result.failed:
        result.logs.append(log)
    return result


# In the order in which they run: what fails fast comes first, what shares a build stands together.
SUITES = {
    "style": style,
    "unit": unit,
    "s3": s3,
    "integration": integration,
    "asan": asan,
    "fuzz": fuzz,
    "tsan": tsan,
    "faults": faults,
    "cluster": cluster,
}


def tail(log: pathlib.Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    return "\n".join(f"    {line}" for line in lines)


def report(name: str, result: Result, seconds: float) -> None:
    counts = f"{name:<12} {result.passed:>5} passed  {result.failed:>3} failed"
    print(f"{counts}  {seconds:>7.1f} s, building {result.build_s:>6.1f} s of it", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test")
    parser.add_argument("--only", default="", help="comma-separated suites; all of them without it")
    parser.add_argument("--list", action="store_true", help="name the suites")
    parser.add_argument("extra", nargs="*", help="after --: arguments for the suites' runner")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(SUITES))
        return 0
    chosen = [name for name in arguments.only.split(",") if name] or list(SUITES)
    for name in chosen:
        if name not in SUITES:
            parser.error(f"there is no suite '{name}'; there are {', '.join(SUITES)}")

    sys.path.insert(0, str(ROOT))
    total = Result()
    begun = time.monotonic()
    for name in chosen:
        started = time.monotonic()
        try:
            result = SUITES[name](arguments.extra)
        except Exception as error:  # one suite's trouble must not hide the others' results
            result = Result(failed=1, notes=[f"{type(error).__name__}: {error}"])
        if result.passed + result.failed == 0:
            result.failed = 1
            result.notes.append("ran no test")
        report(name, result, time.monotonic() - started)
        for note in result.notes:
            print(f"    {note}")
        for log in result.logs[:5]:
            print(f"    {log.relative_to(ROOT)} ends so:\n{tail(log)}", flush=True)
        total.add(result)
    if len(chosen) > 1:
        report("all", total, time.monotonic() - begun)
    print(f"{total.passed} passed, {total.failed} failed", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
