"""Peer: start and join of a no-op by Python's multiprocessing with its fork start method."""

import multiprocessing
import statistics
import sys
import time


def nothing():
    pass


def main():
    case = sys.argv[1]
    heap = bytearray(1 << 30) if case == "start-1gib" else b""
    for at in range(0, len(heap), 4096):
        heap[at] = 1
    context = multiprocessing.get_context("fork")

    samples = []
    end = time.perf_counter() + 0.8
    while time.perf_counter() < end or len(samples) < 7:
        before = time.perf_counter()
        process = context.Process(target=nothing)
        process.start()
        process.join()
        samples.append((time.perf_counter() - before) * 1e6)
        assert process.exitcode == 0
    samples = samples[min(5, len(samples) // 4):]  # the first ones import and warm up
    print(case, "Python fork", "peer", "p50", f"{statistics.median(samples):.6g}", "us", "sleeps", sep="\t")


if __name__ == "__main__":
    main()
