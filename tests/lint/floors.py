"""Includes go down or stay on their floor, never up, and never in a circle.

words < wire < os < channel < process < actors < users (tests, samples, bench). What each floor may include from outside
stands in DENIED and ALLOWED below; the reasons are in libmp/doc/architecture.md.
"""
import re
import sys

import common

FLOORS = common.FLOORS + ["actors", "users"]
# The floor of each public header; one that is missing here is a complaint.
PUBLIC = {
    "words": "duration error exit_status failure unique_fd detail/copy detail/populate detail/std_parts detail/waiting_fds",
    "wire": "codec detail/encoder detail/decoder detail/cereal_forms detail/type_hash detail/codec_* detail/type_name* detail/sendable detail/handle_codec detail/reflect*",
    "channel": "channel channel_options options queue joinable_queue pipe sender receiver duplex connection wait waitable detail/channel "
               "detail/*face* detail/message detail/async* detail/operations detail/io_* detail/item* detail/waitable "
               "detail/robust_futex detail/shared_* detail/endpoint* detail/ends detail/range detail/input_iterator detail/bytes* detail/handle*",
    "process": "core future remote_error detail/future* init start_method process process_options this_process task mailbox address stdio limits cpu_count plugin "
               "detail/call* detail/task* detail/bind* detail/process* detail/mail* detail/request detail/handlers "
               "detail/receive* detail/start*",
    "actors": "mp pool pool_* this_task supervisor shutdown verdict restart_limits caf detail/caf_words detail/pool*",
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
SYSTEM_CALLS = r"(unistd|fcntl|signal|poll|sched|spawn|pthread|sys/(?!types)[\w]+|linux/\w+)\.h$"


def matches(name, patterns):
    return any(re.fullmatch(p.replace("*", r"[\w/]*"), name) for p in patterns.split())


def floor_of_public(name):
    """`name` as in mp/NAME.hpp."""
    for floor in FLOORS:
        if matches(name, PUBLIC.get(floor, "")):
            return floor
    return None


def floor_of(path):
    parts = path.split("/")
    if parts[0] == "libmp" and parts[1] == "src":
        return parts[2]
    if parts[0] == "actors":
        return "actors"
    if path.startswith("libmp/include/mp/"):
        return floor_of_public(path[len("libmp/include/mp/"):-len(".hpp")])
    return "users"


def includes(text):
    return [(kind, name) for kind, name in INCLUDE.findall(text)]


def target(path, kind, name, files):
    """The project's own file that is meant, or None: it comes from outside."""
    folder = path.rsplit("/", 1)[0]
    top = path.split("/")[0]
    for candidate in ("libmp/include/" + name, "actors/include/" + name, "libmp/src/" + name, "actors/src/" + name,
                      top + "/" + name, folder + "/" + name):
        if candidate in files:
            return candidate
    return None


def outside(path, floor, name):
    """May this floor include that from outside?"""
    public_wire = floor == "wire" or path.startswith("tests/")
    rank = FLOORS.index(floor)
    if name.startswith("caf/") and not path.startswith(("actors/", "tests/", "samples/", "bench/")):
        return "caf/ may stand in actors/ only"
    if name.startswith("caf/") and path.startswith("actors/include/") and not path.endswith(("/caf.hpp", "/caf_words.hpp")):
        return "caf/ may stand in actors' sources and in mp/caf.hpp only"
    if name.startswith("boost/asio") and rank < FLOORS.index("channel"):
        return "Asio begins on the floor channel"
    if name.startswith("boost/pfr") and not public_wire:
        return "PFR belongs to the floor wire"
    if name.startswith("cereal/") and not path.startswith("tests/"):
        return "cereal's headers are for types that use its words, not for every user's compiler"
    if floor == "words" and name.startswith("boost/") and not name.startswith("boost/system/"):
        return "the floor words knows boost/system only"
    if floor == "os" and name.startswith("boost/"):
        return "the floor os knows libc and Linux only"
    if floor == "wire" and re.search(SYSTEM_CALLS, name):
        return "the floor wire makes no system calls: it is pure functions of bytes"
    return None


def check_floors(files):
    complaints = []
    for path, text in files.items():
        floor = floor_of(path)
        if floor is None:
            complaints.append("%s: no floor for this header in tests/lint/floors.py" % path)
            continue
        if floor not in FLOORS:
            complaints.append("%s: no such floor: %s" % (path, floor))
            continue
        for kind, name in includes(text):
            to = target(path, kind, name, files)
            if to is None:
                why = outside(path, floor, name)
                if why:
                    complaints.append("%s includes <%s>: %s" % (path, name, why))
                elif kind == '"' and path.startswith(("libmp/", "actors/")):
                    complaints.append('%s includes "%s", which is not there' % (path, name))
                continue
            other = floor_of(to)
            if other in FLOORS and FLOORS.index(other) > FLOORS.index(floor):
                complaints.append("%s (%s) includes %s (%s): up" % (path, floor, to, other))
            if path.startswith("libmp/include/") and to.startswith("libmp/src/"):
                complaints.append("%s: a public header includes the private %s" % (path, to))
            if path.startswith(("actors/", "samples/", "bench/")) and to.startswith("libmp/src/"):
                complaints.append("%s includes the private %s of libmp" % (path, to))
    return complaints


def check_cycles(files):
    graph = {p: [t for t in (target(p, k, n, files) for k, n in includes(text)) if t and t != p] for p, text in files.items()}
    state, complaints = {}, []

    def visit(node, trail):
        if state.get(node) == "done":
            return
        if state.get(node) == "open":
            complaints.append("a circle: " + " -> ".join(trail[trail.index(node):] + [node]))
            return
        state[node] = "open"
        for other in graph.get(node, []):
            visit(other, trail + [node])
        state[node] = "done"

    for node in graph:
        visit(node, [])
    return complaints


def check_umbrella(files):
    """<mp/core.hpp> names every public header of floors 0 to 4."""
    headers = [p for p in files if re.match(r"libmp/include/mp/\w+\.hpp$", p) and not p.endswith("/core.hpp")]
    core = files.get("libmp/include/mp/core.hpp", "")
    return ["mp/core.hpp does not include mp/%s" % p.rsplit("/", 1)[1] for p in headers
            if '"mp/%s"' % p.rsplit("/", 1)[1] not in core]


def main():
    files = {path: text for path, text in common.project_files(".hpp", ".cpp", ".h", ".c").items()
             if not path.startswith("libmp/pch/")}  # of no floor: outside headers for all of them
    checks = common.Checks("floors")
    public = "libmp/include/mp/"
    checks.lint("includes go down or stay", check_floors, files, [
        {"libmp/src/os/a.cpp": '#include "channel/b.hpp"\n', "libmp/src/channel/b.hpp": ""},
        {public + "error.hpp": '#include "mp/queue.hpp"\n', public + "queue.hpp": ""},
        {public + "error.hpp": '#include "words/x.hpp"\n', "libmp/src/words/x.hpp": ""},
        {"samples/a.cpp": '#include "os/x.hpp"\n', "libmp/src/os/x.hpp": ""},
        {"libmp/src/process/a.cpp": "#include <caf/all.hpp>\n"},
        {"actors/include/mp/pool.hpp": "#include <caf/all.hpp>\n"},
        {"libmp/src/os/a.cpp": "#include <boost/asio.hpp>\n"},
        {"libmp/src/channel/a.cpp": "#include <boost/pfr/core.hpp>\n"},
        {public + "codec.hpp": "#include <cereal/cereal.hpp>\n"},
        {"libmp/src/wire/a.cpp": "#include <sys/socket.h>\n"},
        {"libmp/src/words/a.cpp": "#include <boost/asio/buffer.hpp>\n"},
        {public + "surprise.hpp": ""},
        {"libmp/src/os/a.cpp": '#include "os/nowhere.hpp"\n'},
    ])
    checks.lint("no circle of includes", check_cycles, files, [
        {"libmp/src/os/a.hpp": '#include "os/b.hpp"\n', "libmp/src/os/b.hpp": '#include "os/a.hpp"\n'}])
    checks.lint("mp/core.hpp names every public header", check_umbrella, files, [
        {public + "core.hpp": "", public + "queue.hpp": ""}])
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
