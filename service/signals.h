/*
 * Signals that a process gets from its surroundings.
 *
 *   TERM, INT            end the process, after what was started
 *   HUP                  reopen the file of the log, load the certificate of TLS again
 *   USR1, USR2, ALRM, VTALRM, PROF, IO, PWR, STKFLT, PIPE, XFSZ, real-time signals
 *                        are ignored; by default each would end the process at once
 *   others               keep their default: QUIT and those of a crash write a core dump
 */
#ifndef HOLDFAST_SIGNALS_H
#define HOLDFAST_SIGNALS_H

/* Before the first thread is started: threads inherit the mask, and only signals_wait() takes what
   it blocks. For `holdfast serve`; other commands end at any signal, as by default. */
void signals_set_up(void);
/* Blocks; returns SIGTERM, SIGINT or SIGHUP. */
int signals_wait(void);

#endif
