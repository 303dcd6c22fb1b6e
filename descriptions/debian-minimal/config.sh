#!/bin/bash
# Runs in the tree when everything else is in it.
set -eu
test -f /.kconfig && . /.kconfig
test -f /.profile && . /.profile

case ",${kiwi_profiles:-}," in
*,Container,*) ;;
*)
    baseSetRunlevel 3
    baseInsertService systemd-networkd
    # Waiting for every interface that a machine could have ends in a failed unit.
    baseRemoveService systemd-networkd-wait-online
    ;;
esac
