//! Test binaries have a main of their own, so the sandbox's helper is entered before it: `/proc/self/exe` is the test.

#[used]
// SAFETY: the C library calls the functions of this section once, before main, in a single thread (elf(5)).
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = enter;

extern "C" fn enter() {
    if let Some(code) = ingot::host::sandbox::enter_if_asked() {
        std::process::exit(code.into());
    }
}
