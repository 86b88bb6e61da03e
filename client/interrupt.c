/* interrupt.c - Ctrl-C and SIGTERM as a flag. */
#include "client/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include "client/command.h"

static volatile sig_atomic_t g_signalled;

static void on_signal(int signo)
{
    if (g_signalled && signo == SIGINT) _exit(SHOAL_EXIT_FAILED);
    g_signalled = 1;
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
}

bool shoal_interrupted(void)
{
    return g_signalled != 0;
}

void shoal_interrupt_clear(void)
{
    g_signalled = 0;
}
