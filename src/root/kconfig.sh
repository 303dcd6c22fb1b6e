# Functions for the scripts of an image description: `test -f /.kconfig && . /.kconfig`.
#
# They run in the image while it is built. Names and effects are those that descriptions rely on; each function says
# what it cannot do here instead of doing something else, and none ends the script that calls it.
# shellcheck shell=sh

export LANG=C
export LC_ALL=C

ingot_warn() {
    printf 'warning: %s\n' "$*" >&2
}

# Text ---------------------------------------------------------------------------------------------------------------

# Echo [-b] [-n] [-e] TEXT...: -b indents.
Echo() {
    ingot_indent='' ingot_end='\n' ingot_format='%s'
    while :; do
        case "${1-}" in
            -b) ingot_indent='    ' ;;
            -n) ingot_end='' ;;
            -e) ingot_format='%b' ;;
            *) break ;;
        esac
        shift
    done
    # The format is one of the two above.
    # shellcheck disable=SC2059
    printf "%s$ingot_format$ingot_end" "$ingot_indent" "$*"
}

Debug() {
    [ -z "${debug-}" ] || printf '+++ %s\n' "$*" >&2
}

# Rm [-r...] FILE...
Rm() {
    Debug "rm $*"
    rm "$@"
}

# Services -----------------------------------------------------------------------------------------------------------

# The unit file of NAME, with or without its suffix; status 1 if there is none.
baseSystemdServiceInstalled() {
    for ingot_folder in /etc/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
        for ingot_unit in "$1" "$1.service" "$1.mount" "$1.socket" "$1.target" "$1.timer" "$1.path" "$1.swap"; do
            if [ -f "$ingot_folder/$ingot_unit" ]; then
                printf '%s\n' "$ingot_folder/$ingot_unit"
                return 0
            fi
        done
    done
    return 1
}

# The init script of NAME; status 1 if there is none.
baseSysVServiceInstalled() {
    [ -x "/etc/init.d/${1%.service}" ] || return 1
    printf '%s\n' "/etc/init.d/${1%.service}"
}

# baseSystemdCall NAME VERB...: systemctl VERB NAME, if the image has such a unit; silence if not.
baseSystemdCall() {
    ingot_name=$1
    shift
    baseSystemdServiceInstalled "$ingot_name" >/dev/null || baseSysVServiceInstalled "$ingot_name" >/dev/null || return 0
    systemctl "$@" "$ingot_name"
}

baseInsertService() {
    baseSystemdCall "$1" enable
}

baseRemoveService() {
    baseSystemdCall "$1" disable
}

# baseService NAME on|off
baseService() {
    case "${2-}" in
        on) baseInsertService "$1" ;;
        off) baseRemoveService "$1" ;;
        *)
            ingot_warn "baseService ${1-} ${2-}: the second word must be on or off"
            return 1
            ;;
    esac
}

suseInsertService() { baseInsertService "$@"; }
suseRemoveService() { baseRemoveService "$@"; }
suseService() { baseService "$@"; }

# baseSetRunlevel 1|2|3|5|TARGET: what the system boots into.
baseSetRunlevel() {
    case "$1" in
        1 | 2 | 3) ingot_target=multi-user.target ;;
        5) ingot_target=graphical.target ;;
        *.target) ingot_target=$1 ;;
        *) ingot_target=$1.target ;;
    esac
    for ingot_folder in /usr/lib/systemd/system /lib/systemd/system; do
        if [ -e "$ingot_folder/$ingot_target" ]; then
            mkdir -p /etc/systemd/system
            ln -sfn "$ingot_folder/$ingot_target" /etc/systemd/system/default.target
            return 0
        fi
    done
    ingot_warn "baseSetRunlevel $1: the image has no $ingot_target"
}

# Product ------------------------------------------------------------------------------------------------------------

# The link to the product file: the one that names the brand in os-release, else the last.
suseSetupProduct() {
    [ -d /etc/products.d ] || {
        ingot_warn 'suseSetupProduct: the image has no /etc/products.d'
        return 0
    }
    ingot_product=''
    for ingot_file in /etc/SUSE-brand /etc/SuSE-brand /etc/os-release; do
        [ -f "$ingot_file" ] || continue
        ingot_brand=$(sed -n 's/^ID="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p;1{/^[A-Za-z]*$/p;}' "$ingot_file" | head -n 1)
        [ -f "/etc/products.d/$ingot_brand.prod" ] || continue
        ingot_product=$ingot_brand.prod
        break
    done
    if [ -z "$ingot_product" ]; then
        for ingot_file in /etc/products.d/*.prod; do
            [ -f "$ingot_file" ] && [ ! -L "$ingot_file" ] && ingot_product=${ingot_file##*/}
        done
    fi
    [ -n "$ingot_product" ] || {
        ingot_warn 'suseSetupProduct: /etc/products.d has no product'
        return 0
    }
    ln -sfn "$ingot_product" /etc/products.d/baseproduct
}

# The day of the build: the image's own date where it is known, so that two builds agree.
baseSetupBuildDay() {
    ingot_day=$(date -u ${SOURCE_DATE_EPOCH:+-d "@$SOURCE_DATE_EPOCH"} +%Y%m%d)
    printf 'build_day=%s\n' "$ingot_day" >/build_day
}

# Imports the distribution's own package keys that rpm does not have yet.
suseImportBuildKey() {
    command -v rpm >/dev/null || return 0
    for ingot_key in /usr/lib/rpm/gnupg/keys/*.asc; do
        [ -f "$ingot_key" ] || continue
        ingot_name=${ingot_key##*/}
        rpm -q "${ingot_name%.asc}" >/dev/null 2>&1 || rpm --import "$ingot_key"
    done
}

# Configuration files ------------------------------------------------------------------------------------------------

# baseUpdateSysConfig FILE VARIABLE VALUE: changes a variable that the file has.
baseUpdateSysConfig() {
    if [ ! -f "$1" ]; then
        ingot_warn "baseUpdateSysConfig: the image has no $1"
        return 0
    fi
    ingot_value=$(printf '%s' "$3" | sed 's/[\\&|]/\\&/g')
    sed -i "s|^\\($2\\)=.*|\\1=\"$ingot_value\"|" "$1"
}

# baseQuoteFile FILE: puts each value of NAME=VALUE lines into single quotes, so that a shell can read them.
baseQuoteFile() {
    sed -i -e '/^[[:space:]]*#/d' -e '/^[[:space:]]*$/d' \
        -e "s/^\\([A-Za-z_][A-Za-z0-9_]*\\)=[\"']\\{0,1\\}\\([^\"']*\\)[\"']\\{0,1\\}[[:space:]]*\$/\\1='\\2'/" "$1"
}

# Making an image smaller ----------------------------------------------------------------------------------------------

# ingot_keep FOLDER NAME...: removes what is in FOLDER but the named entries.
ingot_keep() {
    ingot_folder=$1
    shift
    for ingot_entry in "$ingot_folder"/*; do
        [ -e "$ingot_entry" ] || continue
        for ingot_wanted in "$@"; do
            [ "${ingot_entry##*/}" != "$ingot_wanted" ] || continue 2
        done
        rm -rf "$ingot_entry"
    done
}

# baseStripLocales NAME...: glibc's locales but the named ones.
baseStripLocales() {
    ingot_keep /usr/lib/locale C.utf8 C.UTF-8 POSIX "$@"
}

# baseStripTranslations NAME...: translated messages but those of the named languages.
baseStripTranslations() {
    ingot_keep /usr/share/locale locale.alias "$@"
}

# baseStripTools FOLDER NAMES: programs in FOLDER but the named ones.
baseStripTools() {
    ingot_folder=$1
    shift
    # The second argument is a list of words.
    # shellcheck disable=SC2048,SC2086
    ingot_keep "$ingot_folder" $*
}

# Firmware that no module of the image's kernels asks for.
baseStripFirmware() {
    [ -d /lib/firmware ] && command -v modinfo >/dev/null || return 0
    ingot_list=$(mktemp)
    find /lib/modules -name '*.ko*' -type f -exec modinfo -F firmware {} + | sort -u >"$ingot_list"
    find /lib/firmware -type f | while IFS= read -r ingot_file; do
        ingot_name=${ingot_file#/lib/firmware/}
        for ingot_end in .xz .zst .gz; do
            ingot_name=${ingot_name%"$ingot_end"}
        done
        grep -qxF -e "$ingot_name" "$ingot_list" || rm -f "$ingot_file"
    done
    rm -f "$ingot_list"
}

# Modules that an update of the kernel's brings again (DIR/updates), which modprobe prefers: the kernel's own copy goes.
baseStripModules() {
    for ingot_kernel in /lib/modules/*; do
        [ -d "$ingot_kernel/updates" ] || continue
        [ -d "$ingot_kernel/kernel" ] || continue
        find "$ingot_kernel/updates" -name '*.ko*' | while IFS= read -r ingot_file; do
            ingot_name=${ingot_file##*/}
            find "$ingot_kernel/kernel" -name "${ingot_name%%.ko*}.ko*" -exec rm -f {} +
        done
    done
}

# Every path on standard input, its links resolved; what leads nowhere is left out.
ingot_resolve() {
    while IFS= read -r ingot_path; do
        [ ! -e "$ingot_path" ] || readlink -f "$ingot_path"
    done | sort -u
}

# baseStripUnusedLibs PREFIX...: shared libraries that no program and no plugin of the image is linked with, but those
# whose names begin with a PREFIX or a word of kiwi_strip_libs. What glibc opens by name (NSS, libgcc_s) stays.
baseStripUnusedLibs() {
    command -v ldd >/dev/null || {
        ingot_warn 'baseStripUnusedLibs: the image has no ldd, nothing was done'
        return 0
    }
    # The variable is a list of words.
    # shellcheck disable=SC2086,SC2154
    set -- "$@" libnss_ libgcc_s. ${kiwi_strip_libs-}
    ingot_libraries=$(mktemp)
    ingot_needed=$(mktemp)
    # Libraries lie in these folders and in those of the architecture; what lies deeper is opened by name.
    for ingot_folder in /lib /lib64 /usr/lib /usr/lib64 /lib/*-linux-gnu* /usr/lib/*-linux-gnu*; do
        [ ! -d "$ingot_folder" ] || find "$ingot_folder/" -maxdepth 1 -name 'lib*.so*' ! -type d
    done | sort -u >"$ingot_libraries"
    {
        find /bin/ /sbin/ /usr/bin/ /usr/sbin/ /usr/local/bin/ /usr/local/sbin/ -maxdepth 1 -type f || :
        find /usr/lib/ /usr/libexec/ /usr/local/lib/ /opt/ /lib/ -type f \( -perm /111 -o -name '*.so*' \) |
            grep -vE '^(/usr)?/lib(64)?/+([^/]+-linux-gnu[^/]*/)?lib[^/]*\.so[^/]*$' || :
        for ingot_prefix in "$@"; do
            grep -F "/$ingot_prefix" "$ingot_libraries" || :
        done
    } 2>/dev/null | ingot_resolve | while IFS= read -r ingot_file; do
        case "${ingot_file##*/}" in lib*.so*) printf '%s\n' "$ingot_file" ;; esac
        ldd "$ingot_file" 2>/dev/null | sed -n 's/^.* => \(\/[^ ]*\) (.*$/\1/p;s/^[[:space:]]*\(\/[^ ]*\) (.*$/\1/p' || :
    done | ingot_resolve >"$ingot_needed"
    while IFS= read -r ingot_file; do
        ingot_name=$(readlink -f "$ingot_file") || continue
        grep -qxF -e "$ingot_name" "$ingot_needed" || printf '%s\n' "$ingot_file"
    done <"$ingot_libraries" >"$ingot_libraries.unused"
    while IFS= read -r ingot_file; do
        rm -f "$ingot_file"
    done <"$ingot_libraries.unused"
    rm -f "$ingot_libraries" "$ingot_libraries.unused" "$ingot_needed"
    ! command -v ldconfig >/dev/null || ldconfig
}

# baseStripAndKeep KEEP_LIST: of the files named on standard input, removes those that are not in the list.
baseStripAndKeep() {
    ingot_list=" $* "
    while IFS= read -r ingot_file; do
        case "$ingot_list" in
            *" ${ingot_file##*/} "*) ;;
            *) rm -rf "$ingot_file" ;;
        esac
    done
}

# depmod for every kernel of the image.
baseUpdateModuleDependencies() {
    for ingot_folder in /lib/modules/*; do
        [ ! -d "$ingot_folder/kernel" ] || depmod -a "${ingot_folder##*/}"
    done
}

# Fewer kernel modules: a copy in /kernel-tree, from which those that no pattern of <drivers> matches are taken, but not
# what the others need, and which then takes the place of /lib/modules.

baseCreateKernelTree() {
    echo 'copying /lib/modules to /kernel-tree'
    mkdir -p /kernel-tree
    cp -a /lib/modules/. /kernel-tree
}

# baseKernelDriverMatches FILE: whether a pattern of <drivers> (extended regular expressions) is found in its path.
baseKernelDriverMatches() {
    [ -n "${kiwi_drivers-}" ] || return 1
    ingot_left=$kiwi_drivers,
    while [ -n "$ingot_left" ]; do
        ingot_pattern=${ingot_left%%,*}
        ingot_left=${ingot_left#*,}
        [ -n "$ingot_pattern" ] || continue
        printf '%s\n' "$1" | grep -qE -e "$ingot_pattern" && return 0
    done
    return 1
}

baseStripKernelModules() {
    find /kernel-tree -path '/kernel-tree/*/kernel/*' -name '*.ko*' -type f | sort | while IFS= read -r ingot_file; do
        baseKernelDriverMatches "$ingot_file" || {
            echo "removing the module $ingot_file"
            rm -f "$ingot_file"
        }
    done
}

# Brings back to /kernel-tree what the modules that are left there need, by the lists that depmod wrote.
baseFixupKernelModuleDependencies() {
    for ingot_kernel in /kernel-tree/*; do
        ingot_whole=/lib/modules/${ingot_kernel##*/}
        [ -f "$ingot_whole/modules.dep" ] || continue
        while IFS= read -r ingot_line; do
            [ -f "$ingot_kernel/${ingot_line%%:*}" ] || continue
            # The second half of a line is a list of words.
            for ingot_needed in ${ingot_line#*:}; do
                [ ! -f "$ingot_kernel/$ingot_needed" ] || continue
                echo "${ingot_line%%:*} needs $ingot_needed"
                mkdir -p "$ingot_kernel/${ingot_needed%/*}"
                cp -a "$ingot_whole/$ingot_needed" "$ingot_kernel/$ingot_needed"
            done
        done <"$ingot_whole/modules.dep"
    done
}

baseSyncKernelTree() {
    [ -d /kernel-tree ] || {
        ingot_warn 'baseSyncKernelTree: there is no /kernel-tree; baseCreateKernelTree makes it'
        return 0
    }
    echo 'putting /kernel-tree in the place of /lib/modules'
    find /lib/modules/ -mindepth 1 -maxdepth 1 -exec rm -rf {} +
    cp -a /kernel-tree/. /lib/modules/
    rm -rf /kernel-tree
}

# A dracut or initramfs-tools initrd takes only what it needs: nothing to strip.
baseStripInitrd() { :; }
baseStripKernel() { :; }
suseStripInitrd() { :; }
suseStripKernel() { :; }

# Mounts: /proc is there, in a namespace of its own, and nothing else can be mounted.
mountProc() { :; }
umountProc() { :; }

# Containers and boxes -------------------------------------------------------------------------------------------------

# Settings with which podman runs in a chroot: no pivot_root, no journal, no overlay.
setupContainerRuntime() {
    mkdir -p /etc/containers
    printf '[engine]\n%s\n%s\n%s\n' 'no_pivot_root = true' 'events_logger = "none"' 'cgroup_manager = "cgroupfs"' \
        >/etc/containers/containers.conf
    printf '[storage]\n%s\n%s\n%s\n' 'driver = "vfs"' 'graphroot = "/var/lib/containers/storage"' \
        'runroot = "/var/run/containers/storage"' >/etc/containers/storage.conf
}

# What `vagrant` expects of a box: it logs in as vagrant with a key that everybody has, and replaces that key by one of
# its own when a machine first starts; sudo asks for no password; /vagrant is shared with the host.
baseVagrantSetup() {
    id vagrant >/dev/null 2>&1 || {
        ingot_warn 'baseVagrantSetup: the image has no user vagrant'
        return 1
    }
    ingot_home=$(grep '^vagrant:' /etc/passwd)
    ingot_home=${ingot_home%:*}
    ingot_home=${ingot_home##*:}
    mkdir -p "$ingot_home/.ssh" /vagrant
    printf '%s\n' "ssh-rsa $ingot_vagrant_key vagrant insecure public key" >"$ingot_home/.ssh/authorized_keys"
    chmod 0700 "$ingot_home/.ssh"
    chmod 0600 "$ingot_home/.ssh/authorized_keys"
    # Without this note nobody knows that the description asked for a key.
    [ ! -d /image ] || printf '%s\n' "$ingot_home/.ssh/authorized_keys" >>/image/.asked-for
    ingot_warn "baseVagrantSetup: everybody has the key in $ingot_home/.ssh/authorized_keys until vagrant replaces it"
    chown -R vagrant: "$ingot_home" /vagrant
    if [ -d /etc/ssh/sshd_config.d ]; then
        printf 'UseDNS no\nGSSAPIAuthentication no\n' >/etc/ssh/sshd_config.d/00-vagrant.conf
    elif [ -f /etc/ssh/sshd_config ]; then
        # The first line that sets an option counts.
        sed -i '1i UseDNS no\nGSSAPIAuthentication no' /etc/ssh/sshd_config
    else
        ingot_warn 'baseVagrantSetup: the image has no sshd'
    fi
    if [ -d /etc/sudoers.d ]; then
        ingot_file=/etc/sudoers.d/vagrant
        echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >"$ingot_file"
        chmod 0440 "$ingot_file"
    elif [ -f /etc/sudoers ]; then
        ingot_file=/etc/sudoers
        echo 'vagrant ALL=(ALL) NOPASSWD: ALL' >>"$ingot_file"
    else
        ingot_file=''
        ingot_warn 'baseVagrantSetup: the image has no sudo'
    fi
    [ -z "$ingot_file" ] || ! command -v visudo >/dev/null || visudo -cf "$ingot_file"
    # Debian calls it ssh.
    for ingot_service in ssh sshd; do
        ! baseSystemdServiceInstalled "$ingot_service" >/dev/null || baseInsertService "$ingot_service"
    done
}

# The public half of the key that comes with Vagrant (keys/vagrant.pub there).
ingot_vagrant_key=AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oX
ingot_vagrant_key=${ingot_vagrant_key}evct1YeS0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdO
ingot_vagrant_key=${ingot_vagrant_key}V0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6kivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0
ingot_vagrant_key=${ingot_vagrant_key}jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEgE98OHlnVYCzRd
ingot_vagrant_key=${ingot_vagrant_key}K8jlqm8tehUc9c9WhQ==

# Functions without effect ---------------------------------------------------------------------------------------------

ingot_deprecated() {
    ingot_warn "$1: obsolete, nothing was done; remove the call from the script"
}

ingot_cgroups='a script with the control groups of the host would be out of its sandbox; nothing was done'
mountCgroups() { ingot_warn "mountCgroups: $ingot_cgroups"; }
umountCgroups() { ingot_warn "umountCgroups: $ingot_cgroups"; }

baseCleanMount() { ingot_deprecated baseCleanMount; }
baseMount() { ingot_deprecated baseMount; }
suseActivateDefaultServices() { ingot_deprecated suseActivateDefaultServices; }
baseSetupUserPermissions() { ingot_deprecated baseSetupUserPermissions; }
suseConfig() { ingot_deprecated suseConfig; }
baseGetPackagesForDeletion() { ingot_deprecated baseGetPackagesForDeletion; }
baseGetProfilesUsed() { ingot_deprecated baseGetProfilesUsed; }
baseStripMans() { ingot_deprecated baseStripMans; }
baseStripDocs() { ingot_deprecated baseStripDocs; }
baseStripInfos() { ingot_deprecated baseStripInfos; }
Rpm() { ingot_deprecated Rpm; }
rhelStripInitrd() { ingot_deprecated rhelStripInitrd; }
debianStripInitrd() { ingot_deprecated debianStripInitrd; }
rhelStripKernel() { ingot_deprecated rhelStripKernel; }
debianStripKernel() { ingot_deprecated debianStripKernel; }
rhelSplashToGrub() { ingot_deprecated rhelSplashToGrub; }
suseSetupProductInformation() { ingot_deprecated suseSetupProductInformation; }
baseCleanup() { ingot_deprecated baseCleanup; }
suseCleanup() { ingot_deprecated suseCleanup; }
suseRemoveYaST() { ingot_deprecated suseRemoveYaST; }
