"""The contract lines of public headers (libmp/doc/safety-words.md).

Every header, every class and every struct with functions says *Threads* and *Processes*; every public function that can
wait says *Waits*; every one that can throw says *Throws*. What can wait is known by its name (waiting is spelled x,
x_for, x_until; try_x and async_x return at once). What can throw is all that is not noexcept, except in headers whose
types are values (there only memory can run out), constexpr functions, and what the language makes (= default).
A comment counts for all declarations below it up to the next blank line or comment.
"""
import re
import sys

import common

WAITING = {"get", "put", "join", "wait", "receive", "send", "start", "get_many", "put_many", "send_bytes", "recv_bytes",
           "recv_bytes_into", "recv_bytes_and_fds"}
NEVER = re.compile(r"^(try_|async_|operator|~)")
KEYWORDS = {"if", "for", "while", "switch", "return", "requires", "decltype", "noexcept", "sizeof", "alignas", "explicit",
            "static_assert", "catch", "throw", "defined"}


class Declaration:
    def __init__(self, kind, name, text, doc, line, scope, values):
        self.kind, self.name, self.text, self.doc, self.line, self.scope, self.values = kind, name, text, doc, line, scope, values


def doc_blocks(lines):
    """For each line number: the /// comment that counts for a declaration that begins there."""
    docs, current, fresh = {}, [], False
    for number, raw in enumerate(lines, 1):
        line = raw.strip()
        if line.startswith("///"):
            if not fresh:
                current, fresh = [], True
            current.append(line[3:].strip())
        elif not line:
            current, fresh = [], False
        elif line.startswith("//"):
            fresh = False
        else:
            fresh = False
            docs[number] = "\n".join(current)
            if re.match(r"(inline )?(namespace|extern)\b", line) or re.search(r"\b(public|private|protected):$", line) or \
                    (line.endswith("{") and re.match(r"(template\b.*\s)?(class|struct|union)\b", line)):
                current = []  # what stands inside has comments of its own
    return docs


def strip_preprocessor(text):
    out, skipping = [], False
    for line in text.split("\n"):
        if skipping or line.lstrip().startswith("#"):
            skipping = line.rstrip().endswith("\\")
            out.append("")
        else:
            out.append(line)
    return "\n".join(out)


def match_brace(code, at, opening="{", closing="}"):
    depth = 0
    for i in range(at, len(code)):
        if code[i] == opening:
            depth += 1
        elif code[i] == closing:
            depth -= 1
            if depth == 0:
                return i
    return len(code) - 1


TEMPLATE = re.compile(r"\s*template\s*<")
CLASS = re.compile(r"^(?:(?:alignas\s*\([^)]*\)|\[\[[^\]]*\]\]|friend)\s*)*(class|struct|union|enum(?:\s+class)?)\b\s*(?:\[\[[^\]]*\]\]\s*)?([\w:]+)")


def strip_template(text):
    """The declaration without template<...> and requires(...)."""
    while True:
        found = TEMPLATE.match(text)
        if not found:
            break
        depth, i = 0, found.end() - 1
        while i < len(text):
            if text[i] == "<":
                depth += 1
            elif text[i] == ">" and text[i - 1] not in "-=":
                depth -= 1
                if depth == 0:
                    break
            i += 1
        text = text[i + 1:].lstrip()
        while text.startswith("requires"):
            rest = text[len("requires"):].lstrip()
            if rest.startswith("("):
                text = rest[match_brace(rest, 0, "(", ")") + 1:].lstrip(" &|\n")
            else:  # a named constraint
                text = re.sub(r"^[\w:]+(\s*<[^;{}()]*?>)?\s*", "", rest, count=1)
    return text.strip()


def without_angles(text):
    """Template arguments say nothing here, and may hold parentheses."""
    previous = None
    while previous != text:
        previous, text = text, re.sub(r"(?<=\w)\s*<[^<>;{}]*>", "", text)
    return text


def function_name(text):
    text = without_angles(re.sub(r"\[\[.*?\]\]", " ", text))
    if re.search(r"\(\s*\*", text.split(",")[0]):
        return None  # a pointer to a function
    operator = re.search(r"\boperator\s*(\(\)|[^\s(]+|\w+)\s*\(", text)
    if operator:
        return "operator" + operator.group(1)
    for found in re.finditer(r"((?:::\s*)?~?\w+)\s*\(", text):
        if found.group(1).startswith("::"):
            return None  # a definition outside of its class: the declaration has the contract
        if found.group(1) not in KEYWORDS:
            return found.group(1)
    return None


def declarations(text):
    """All public declarations of a header outside of detail namespaces."""
    docs = doc_blocks(text.split("\n"))
    code = strip_preprocessor(common.without_comments(text))
    values = bool(re.search(r"^/// Threads:\s+(a value|values)\b", text, re.M))
    found = []
    # A scope is (kind, name, is its inside public now).
    scopes = []
    start, i = 0, 0

    def public():
        return all(s[2] for s in scopes)

    def emit(kind, name, piece, begin):
        line = code.count("\n", 0, begin + len(piece) - len(piece.lstrip())) + 1
        found.append(Declaration(kind, name, " ".join(piece.split()), docs.get(line, ""), line,
                                 "::".join(s[1] for s in scopes if s[0] == "class"), values))

    while i < len(code):
        c = code[i]
        if c == "(":
            i = match_brace(code, i, "(", ")") + 1
            continue
        if c == ":" and code[i + 1:i + 2] != ":" and code[i - 1] != ":" and re.fullmatch(r"\s*(public|private|protected)\s*", code[start:i]):
            scopes[-1] = (scopes[-1][0], scopes[-1][1], code[start:i].strip() == "public")
            start = i = i + 1
            continue
        if c not in ";{}":
            i += 1
            continue
        piece = code[start:i]
        bare = strip_template(piece)
        if c == "}":
            if scopes:
                scopes.pop()
            start = i = i + 1
            # the ; after a class
            follow = re.match(r"\s*;", code[i:])
            if follow:
                start = i = i + follow.end()
            continue
        if c == ";":
            name = function_name(bare)
            if bare and public() and name and not re.match(r"^(using|typedef|friend|static_assert|extern)\b", bare) and "(" in bare and \
                    not re.search(r"=\s*(delete|default)\s*$", bare):
                if not re.search(r"=", bare.split("(")[0]):
                    emit("function", name, piece, start)
            start = i = i + 1
            continue
        # c == "{"
        namespace = re.match(r"^(?:inline\s+)?namespace\b\s*([\w:]*)", bare)
        if namespace:
            scopes.append(("namespace", namespace.group(1), "detail" not in namespace.group(1) and namespace.group(1) != ""))
            start = i = i + 1
            continue
        class_ = CLASS.match(bare)
        if class_ and not class_.group(1).startswith("enum") and "(" not in re.sub(r"\(.*?\)", "", bare[class_.end():]):
            if public():
                end = match_brace(code, i)
                emit(class_.group(1), class_.group(2), piece, start)
                body = without_angles(re.sub(r"=[^;]*;", ";", code[i + 1:end]))
                found[-1].has_functions = bool(re.search(r"\w\s*\([^;{}*][^;{}]*\)[^;{}=]*[;{]|\w\s*\(\)[^;{}=]*[;{]", body))
            scopes.append(("class", class_.group(2), class_.group(1) != "class"))
            start = i = i + 1
            continue
        end = match_brace(code, i)
        follow = re.match(r"\s*([,{])", code[end + 1:])
        if follow and "(" in bare:  # a constructor's initialiser with braces
            i = end + 1
            continue
        if "(" in bare and not re.search(r"=\s*$", bare) and not (class_ and class_.group(1).startswith("enum")):
            name = function_name(bare)
            if public() and name and not bare.startswith("friend") and "=" not in bare.split("(")[0].replace("operator==", "").replace("operator=", ""):
                emit("function", name, piece, start)
            start = i = end + 1
            continue
        semicolon = code.find(";", end)
        start = i = (semicolon if semicolon >= 0 else end) + 1
    return found


def check_header(path, text):
    complaints = []
    top = re.match(r"(?s)#pragma once\n(/// @file\n(?:///[^\n]*\n)+)", text)
    if not top:
        complaints.append("%s: does not begin with #pragma once and an @file block" % path)
    else:
        # clang-format may join short lines of the block, so the words count wherever they stand in it.
        for word in ("Threads:", "Processes:"):
            if word not in top.group(1):
                complaints.append("%s: the @file block has no %s" % (path, word))
    face = path.endswith("_face.hpp")  # what users see of it, they see in queue and pipe
    if "/detail/" in path and not face:
        return complaints
    for d in declarations(text.replace("namespace detail", "namespace shown") if face else text):
        where = "%s:%d: %s" % (path, d.line, (d.scope + "::" if d.scope else "") + d.name)
        if d.kind in ("class", "struct"):
            if d.kind == "class" or d.has_functions:
                complaints += ["%s: no %s line" % (where, w) for w in ("Threads:", "Processes:") if w not in d.doc]
            continue
        head = d.text.split("{")[0]
        # Whatever waits can fail: what is noexcept does not wait.
        waits = "noexcept" not in head and d.name in WAITING or "noexcept" not in head and d.name.endswith(("_for", "_until"))
        if waits and not NEVER.match(d.name) and not re.search(r"\bWaits?:", d.doc):
            complaints.append("%s can wait and has no Waits line" % where)
        quiet = d.values or "noexcept" in head or re.search(r"\b(constexpr|consteval)\b", head) or NEVER.match(d.name) and d.name[0] == "~"
        if not quiet and not re.search(r"\bThrows?:", d.doc):
            complaints.append("%s can throw (it is not noexcept) and has no Throws line" % where)
    return complaints


def check(files):
    return [c for path, text in common.public_headers(files).items() for c in check_header(path, text)]


HEAD = "#pragma once\n/// @file\n/// A sample.\n///\n/// Threads:  thread-safe.   Processes: shareable.\nnamespace mp {\n"
CLASS_DOC = "/// A thing.\n///\n/// Threads:  thread-safe.   Processes: shareable.\n"


def main():
    checks = common.Checks("contract")
    path = "libmp/include/mp/sample.hpp"

    def bad(text):
        return {path: HEAD + text + "}\n"}

    good = {path: HEAD + CLASS_DOC + "template <class T> requires(sizeof(T) > 1)\nclass sample : public base<T> {\npublic:\n"
            "  sample() noexcept : a_{1} {}\n  /// Gives it.\n  /// Waits:    until there is one.\n  /// Throws:   error{closed}.\n"
            "  T get() const;\n  std::optional<T> get_for(duration limit) const { return x(limit); }\n\n"
            "  /// Never waits.\n  /// Throws:   error{closed}.\n  std::optional<T> try_get() const;\n  int size() const noexcept;\n"
            "  sample(const sample&) = default;\n  ~sample();\nprivate:\n  void hidden_get();\n  int a_ = f(1);\n};\n"
            "namespace detail {\nvoid wait();\n}\nstruct plain {\n  int a = 0;\n  std::string b{};\n  void (*c)() = nullptr;\n"
            "  std::function<void(int)> d{};\n};\ntemplate <class T>\nsample<T>::sample(int x) : a_(x) {}\n}\n"}
    checks.run("a header that keeps all rules passes", lambda: check(good))
    checks.lint("every contract line that applies is there", check, common.project_files(".hpp"), [
        ({path: "#pragma once\n#include <x>\n"}, "does not begin"),
        ({path: HEAD.replace("Processes:", "")}, "the @file block has no Processes:"),
        (bad("/// No safety words.\nclass a {};\n"), "a: no Threads: line"),
        (bad("struct with_function {\n  int f() noexcept;\n};\n"), "with_function: no Processes: line"),
        (bad(CLASS_DOC + "class a {\npublic:\n  /// Throws:   error{closed}.\n  int get();\n};\n"), "a::get can wait"),
        (bad(CLASS_DOC + "class a {\npublic:\n  /// Throws:   error{closed}.\n  bool put_for(int x, duration limit);\n};\n"), "put_for can wait"),
        (bad(CLASS_DOC + "class a {\npublic:\n  /// Waits:    for ever.\n  int get();\n};\n"), "a::get can throw"),
        (bad(CLASS_DOC + "class a {\npublic:\n  explicit a(int n) : n_{n} {}\nprivate:\n  int n_;\n};\n"), "a::a can throw"),
        (bad(CLASS_DOC + "class a {\npublic:\n  bool is_alive() const;\n};\n"), "is_alive can throw"),
        ({"libmp/include/mp/detail/x_face.hpp": HEAD + "namespace detail {\n" + CLASS_DOC + "struct f {\n  int get() const;\n};\n}\n}\n"}, "f::get can wait"),
        (bad("/// Starts it all.\nvoid init(int argc, char** argv);\n"), "init can throw"),
        (bad("/// Gives.\n/// Waits:    no.\n/// Throws:   error{closed}.\n\ntemplate <class T>\nT get() {\n  return {};\n}\n"), "get can wait"),
    ])
    return checks.done()


if __name__ == "__main__":
    sys.exit(main())
