"""Tells ingot what dnf is going to install: one JSON object, in the words in which dnf5 stores a transaction."""

import json
import os

import dnf
import dnf.transaction
import libdnf


class Report(dnf.Plugin):
    name = "ingot_report"

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
