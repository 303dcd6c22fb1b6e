#!/bin/bash
# Runs in the tree when everything else is in it.
set -eu
test -f /.kconfig && . /.kconfig
test -f /.profile && . /.profile

baseSetRunlevel 3
baseInsertService systemd-networkd
baseInsertService systemd-resolved
baseInsertService ssh
# Waiting for every interface that a machine could have ends in a failed unit.
baseRemoveService systemd-networkd-wait-online
