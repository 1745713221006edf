/*
 * Signals from outside the process.
 *
 *   TERM, INT            end the process, after the work that was started
 *   HUP                  opens the log file again, and loads the TLS certificate again
 *   USR1, USR2, ALRM, VTALRM, PROF, IO, PWR, STKFLT, PIPE, XFSZ, real-time signals
 *                        are ignored; by default each would end the process at once
 *   others               keep their default: QUIT and those of a crash write a core dump
 */
#ifndef HOLDFAST_SIGNALS_H
#define HOLDFAST_SIGNALS_H

/* For `holdfast serve`. Call before the first thread is started: threads inherit the mask, and only
   signals_wait() takes the signals that it blocks. Other commands keep the default: any signal ends
   them. */
void signals_set_up(void);
/* Blocks until one of SIGTERM, SIGINT and SIGHUP arrives, and returns it. Main thread. */
int signals_wait(void);

#endif
