"""Every public header compiles alone, without a warning, under each compiler that is there.

usage: headers.py [COMPILER ..]    default: g++ and clang++-19
"""
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
import time

import common

FLAGS = ["-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Wnon-virtual-dtor", "-Werror",
         "-DBOOST_ASIO_SEPARATE_COMPILATION", "-I", os.path.join(common.TOP, "libmp/include"), "-I", os.path.join(common.TOP, "actors/include")]


def compile_alone(compiler, include):
    """The compiler's words about a file that holds this include alone, twice."""
    with tempfile.NamedTemporaryFile("w", suffix=".cpp", delete=False) as source:
        source.write('#include "%s"\n#include "%s"\n' % (include, include))
    try:
        done = subprocess.run([compiler, *FLAGS, source.name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return "" if done.returncode == 0 else done.stdout[:3000]
    finally:
        os.unlink(source.name)


def figure():
    """How long a program that includes everything takes to compile; the budget is 4 s on an idle machine."""
    with tempfile.NamedTemporaryFile("w", suffix=".cpp", delete=False) as source:
        source.write("#include <mp/mp.hpp>\nint main() {}\n")
    began = time.monotonic()
    done = subprocess.run(["g++", *[f for f in FLAGS if f != "-fsyntax-only"], "-O2", "-c", source.name, "-o", os.devnull], stdout=subprocess.DEVNULL)
    os.unlink(source.name)
    if done.returncode == 0:
        print("figure: a program that includes <mp/mp.hpp> compiles in %.1f s" % (time.monotonic() - began))


def main():
    compilers = sys.argv[1:] or [c for c in ("g++", "clang++-19") if shutil.which(c)]
    checks = common.Checks("headers")
    names = [p.split("/include/")[1] for p in common.public_headers(common.project_files(".hpp"))]
    with concurrent.futures.ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as workers:
        jobs = {(c, n): workers.submit(compile_alone, c, n) for c in compilers for n in names if c == "g++" or "/detail/" not in n}
        for (compiler, name), job in jobs.items():
            checks.run("%s compiles alone with %s" % (name, compiler), lambda job=job: [job.result()] if job.result() else [])
    with tempfile.TemporaryDirectory() as bad:
        path = os.path.join(bad, "bad.hpp")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#pragma once\ninline std::string f() { return {}; }\n")
        for compiler in compilers:
            checks.run("a header that forgot an include is caught with %s" % compiler,
                       lambda compiler=compiler: [] if compile_alone(compiler, path) else ["it compiles"])
    figure()
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
