#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

static void awaited(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void signals_set_up(void)
{
    static const int ignored[] = {SIGUSR1, SIGUSR2, SIGALRM,   SIGVTALRM, SIGPROF,
                                  SIGIO,   SIGPWR,  SIGSTKFLT, SIGPIPE,   SIGXFSZ};
    sigset_t set;
    awaited(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    /* A shell may have started the process with INT or HUP ignored (`&`, nohup). */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); ++i)
        signal(ignored[i], SIG_IGN);
    for (int number = SIGRTMIN; number <= SIGRTMAX; ++number)
        signal(number, SIG_IGN);
}

int signals_wait(void)
{
    sigset_t set;
    int number;
    awaited(&set);
    while (sigwait(&set, &number) != 0) /* it fails only when it is interrupted */
        continue;
    return number;
}
