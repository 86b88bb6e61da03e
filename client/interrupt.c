/* interrupt.c - Ctrl-C and SIGTERM as a flag. */
#include "client/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "client/command.h"

static atomic_bool g_signalled; /* lock-free, so a handler may set it */

static void on_signal(int signo)
{
    if (atomic_load(&g_signalled) && signo == SIGINT) _exit(SHOAL_EXIT_FAILED);
    atomic_store(&g_signalled, true);
}

void shoal_interrupt_install(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGINT, &sa, NULL);
    (void)sigaction(SIGTERM, &sa, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGPIPE, &ignore, NULL);
    (void)sigaction(SIGXFSZ, &ignore, NULL);
}

bool shoal_interrupted(void)
{
    return atomic_load(&g_signalled);
}

void shoal_interrupt_clear(void)
{
    atomic_store(&g_signalled, false);
}

const atomic_bool *shoal_interrupt_flag(void)
{
    return &g_signalled;
}
