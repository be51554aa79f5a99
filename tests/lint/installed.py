"""A program of ten lines builds and runs against the installed tree, by pkg-config and by CMake.

usage: installed.py BUILD_DIRECTORY
"""
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

import common

PROGRAM = r"""
#include <mp/%s>
#include <iostream>

int main(int argc, char** argv) {
  mp::init(argc, argv);
  mp::queue<std::string> q;
  mp::process p{[](mp::queue<std::string> out) { out.put("from a child"); }, q};
  p.start();
  std::cout << q.get() << ' ' << p.join() << '\n';
%s}
"""
EXPECTED = "from a child exited with code 0\n"


def program(package):
    """What a user of the package would write, and what it prints."""
    if package == "libmp":
        return PROGRAM % ("core.hpp", ""), EXPECTED
    return PROGRAM % ("mp.hpp", "  std::cout << mp::verdict{}.clean() << '\\n';\n"), EXPECTED + "1\n"


def output_of(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise common.Failed("%s\n%s" % (" ".join(command), done.stdout))
    return done.stdout


def main():
    build = os.path.abspath(sys.argv[1])
    checks = common.Checks("installed tree")
    with tempfile.TemporaryDirectory(prefix="libmp-installed-") as temp:
        root = os.path.join(temp, "root")
        source = os.path.join(temp, "ten_lines.cpp")
        output_of(["meson", "install", "-C", build, "--no-rebuild", "--destdir", root])
        pc = common.find_under(root, "libmp.pc")
        libdir = os.path.dirname(os.path.dirname(pc))
        environment = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(pc), PKG_CONFIG_SYSROOT_DIR=root, LD_LIBRARY_PATH=libdir)
        compiler = shlex.split(os.environ.get("CXX", "g++"))

        def by_pkg_config(package):
            flags = output_of(["pkg-config", "--cflags", "--libs", package], env=environment).split()
            binary = os.path.join(temp, "by-pkg-config-" + package)
            output_of([*compiler, source, "-o", binary, "-Wall", "-Wextra", "-Wpedantic", "-Werror", *flags])
            got = output_of([binary], env=environment)
            if got != expected:
                raise common.Failed("it printed %r" % got)

        def by_cmake(target):
            project = os.path.join(temp, target)
            os.makedirs(project)
            with open(os.path.join(project, "CMakeLists.txt"), "w", encoding="utf-8") as file:
                file.write("cmake_minimum_required(VERSION 3.20)\nproject(ten CXX)\nfind_package(libmp 0.1 CONFIG REQUIRED)\n"
                           "add_executable(ten %s)\ntarget_link_libraries(ten libmp::%s)\n" % (source, target))
            prefix = os.path.join(root, os.path.relpath(os.path.dirname(common.find_under(root, "mp/mp.hpp", is_path=True)), root).split("/include")[0])
            output_of(["cmake", "-S", project, "-B", project + "/build", "-G", "Ninja", "-DCMAKE_PREFIX_PATH=" + prefix,
                       "-DCMAKE_CXX_COMPILER=" + compiler[-1]])
            output_of(["cmake", "--build", project + "/build"])
            got = output_of([project + "/build/ten"], env=environment)
            if got != expected:
                raise common.Failed("it printed %r" % got)

        def found_by_itself():
            if os.path.basename(libdir) != "lib":
                raise common.Failed("libraries are installed where Debian's linker, pkg-config and CMake do not look: " + libdir)

        def nothing_private():
            for directory, _, files in os.walk(root):
                for name in files:
                    if name.endswith((".cpp", ".in")) or "/src/" in directory:
                        raise common.Failed("installed and should not be: " + os.path.join(directory, name))

        for package, target in (("libmp", "mp"), ("libmp-actors", "actors")):
            text, expected = program(package)
            with open(source, "w", encoding="utf-8") as file:
                file.write(text)
            checks.run("a program builds and runs by pkg-config, with %s" % package, lambda: by_pkg_config(package))
            checks.run("a program builds and runs by CMake, with %s shared" % package, lambda: by_cmake(target))
            checks.run("a program builds and runs by CMake, with %s static" % package, lambda: by_cmake(target + "_static"))
        checks.run("it lies where it is found", found_by_itself)
        checks.run("only public headers are installed", nothing_private)
    shutil.rmtree(root, ignore_errors=True)
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
