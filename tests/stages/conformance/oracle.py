"""Asks KIWI itself: which documents its schema accepts, and what it resolves a description to.

In: one JSON value on stdin. Out: one JSON value on stdout. Uses KIWI's public classes, in a venv of its own.

  oracle.py validate   [TEXT, ...]                      -> [[accepted by RELAX NG, accepted by Schematron], ...]
  oracle.py languages  [FILE, ...]                    -> [{"yaml": TEXT, "toml": TEXT} or {"error": TEXT}, ...]
  oracle.py resolve    [{file, profiles, type, arch}]   -> [{...} or {"error": TEXT}, ...]
"""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys

from lxml import etree, isoschematron

logging.disable(logging.CRITICAL)


def schemas():
    from kiwi.defaults import Defaults

    document = etree.parse(Defaults.get_schema_file())
    return etree.RelaxNG(document), isoschematron.Schematron(document)


def validate(texts):
    grammar, rules = schemas()
    for text in texts:
        document = etree.fromstring(text.encode()).getroottree()
        fits = grammar.validate(document)
        yield [fits, fits and rules.validate(document)]


def languages(files):
    from kiwi.xml_description import XMLDescription

    for file in files:
        try:
            found = {}
            for name in ["yaml", "toml"]:
                markup = XMLDescription(file).markup
                with open(getattr(markup, f"get_{name}_description")()) as text:
                    found[name] = text.read()
            yield found
        except Exception as error:  # every refusal of KIWI's is an answer
            yield {"error": f"{type(error).__name__}: {error}"}


def plain(value):
    return value if value is None or isinstance(value, (str, bool, int, list, dict)) else str(value)


def repository(section):
    source = section.get_source()
    fields = ["type", "alias", "priority", "imageinclude", "imageonly", "distribution", "components"]
    found = {name: plain(getattr(section, "get_" + name)()) for name in fields}
    found["path"] = source.get_path()
    found["keys"] = [key.get_key() for key in source.get_signing()]
    return found


def resolve(wanted):
    from kiwi.defaults import Defaults
    from kiwi.system.profile import Profile
    from kiwi.xml_description import XMLDescription
    from kiwi.xml_state import XMLState

    loaded = {}
    for item in wanted:
        try:
            Defaults.set_platform_name(item["arch"])
            if item["file"] not in loaded:
                loaded[item["file"]] = XMLDescription(item["file"]).load()
            state = XMLState(loaded[item["file"]], item["profiles"], item["type"])
            attributes = {}
            for name in item["attributes"]:
                attributes[name] = plain(getattr(state.build_type, "get_" + name)())
            fields = ["name", "password", "pwdformat", "home", "shell", "realname", "id"]
            yield {
                "profiles": state.profiles,
                "manager": state.get_package_manager(),
                "version": state.get_image_version(),
                "bootstrap": state.get_bootstrap_packages(),
                "image": state.get_system_packages(),
                "delete": state.get_to_become_deleted_packages(True),
                "uninstall": state.get_to_become_deleted_packages(False),
                "ignore": sorted(set(state.get_system_ignore_packages() + state.get_bootstrap_ignore_packages())),
                "repositories": [repository(section) for section in state.get_repository_sections()],
                "users": [
                    {name: plain(getattr(user, "get_" + name)()) for name in fields}
                    | {"groups": state.get_user_groups(user.get_name())}
                    for user in state.get_users()
                ],
                "attributes": attributes,
                "variables": dict(Profile(state).get_settings()),
            }
        except Exception as error:  # every refusal of KIWI's is an answer
            yield {"error": f"{type(error).__name__}: {error}"}


def command_line(_wanted):
    """What `kiwi-ng COMMAND --help` lists: every command, its options, and whether each takes a value."""
    # Wide enough that nothing is cut off.
    environment = dict(os.environ, COLUMNS="500", TERM="dumb", NO_COLOR="1")
    waiting = [[]]
    while waiting:
        path = waiting.pop(0)
        asked = subprocess.run([sys.executable, "-c", "from kiwi.kiwi import main; main()", *path, "--help"], env=environment, capture_output=True, text=True, check=True)
        options = {}
        in_commands = False
        for line in asked.stdout.splitlines():
            in_commands = "Commands" in line if "\u2500\u2500" in line else in_commands
            text = line.strip("\u2502 ").removeprefix("*").strip()
            option = re.match(r"(--[a-zA-Z0-9][\w-]*)\s+(?:-\w\s+)?<(\w+)", text)
            command = re.match("\u2502 ([a-z]+) ", line)
            if option:
                options[option[1]] = option[2] != "bool"
            elif text.startswith("--"):
                raise ValueError(f"what is {text}?")
            elif in_commands and command and command[1] != "kiwi":  # a command line of KIWI inside of one
                waiting.append(path + [command[1]])
        yield {"command": path, "options": options}


def main():
    answers = {"validate": validate, "languages": languages, "resolve": resolve, "options": command_line}[sys.argv[1]]
    wanted = json.load(sys.stdin)
    # KIWI and what it starts may print; the answer is alone on stdout.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr):
        found = list(answers(wanted))
    json.dump(found, out)
    out.flush()


if __name__ == "__main__":
    main()
