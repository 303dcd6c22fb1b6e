"""Tells ingot what dnf is going to install: one JSON object, in the words in which dnf5 stores a transaction.

Where ingot knows what would be decided from metadata with certain digests, and the repositories still have it: the one
word `unchanged`, and dnf ends.
"""

import hashlib
import json
import os
import sys

import dnf
import dnf.transaction
import libdnf


def digest(repo):
    """Of the table of contents, once the mirror was asked: what dnf read within this second is no answer."""
    repo._repo.expire()
    repo.load()
    with open(os.path.join(repo._repo.getCachedir(), "repodata", "repomd.xml"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Report(dnf.Plugin):
    name = "ingot_report"

    def config(self):
        known = os.environ["INGOT_DNF_KNOWN"]
        if not os.path.exists(known):
            return
        # dnf puts the install root before it, and reads the option once more after this.
        self.base.conf.cachedir = os.environ["INGOT_DNF_CACHE"]
        try:
            with open(known) as file:
                wanted = json.load(file)
            same = wanted == {repo.id: digest(repo) for repo in self.base.repos.iter_enabled()}
        except (dnf.exceptions.Error, OSError):
            # dnf will say it in its own words.
            return
        if same:
            with open(os.environ["INGOT_DNF_REPORT"], "w") as file:
                file.write("unchanged")
            sys.exit(0)

    def resolved(self):
        rpms = []
        for item in self.base.transaction:
            if item.action not in dnf.transaction.FORWARD_ACTIONS:
                continue
            package = item.pkg
            install = item.action == libdnf.transaction.TransactionItemAction_INSTALL
            group = item.reason == libdnf.transaction.TransactionItemReason_GROUP
            rpms.append({
                "nevra": str(package),
                "action": "Install" if install else dnf.transaction.ACTIONS[item.action],
                "reason": "Group" if group else "Other",
                "repo_id": package.reponame,
                "package_path": package.localPkg(),
            })
        # `@NAME:STREAM` enables a module on its own; what a command enabled before is not among these.
        container = getattr(self.base, "_moduleContainer", None)
        modules = dict(container.getEnabledStreams()) if container else {}
        with open(os.environ["INGOT_DNF_REPORT"], "w") as file:
            json.dump({"rpms": rpms, "modules": modules}, file)
