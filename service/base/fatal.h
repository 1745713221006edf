/*
 * Ends the process when it cannot continue: logs the reason and the place, then calls abort().
 *
 * Only for faults that no caller can handle and no request can cause: no memory, no file descriptor
 * or thread at the start, an inconsistent table of the program. Any thread may call. Waits 200 ms
 * at most for the reader of the log.
 */
#ifndef HOLDFAST_BASE_FATAL_H
#define HOLDFAST_BASE_FATAL_H

/* `what` could not be done; `error` is an errno, or 0 if there is none. */
#define FATAL(what_, error_) fatal_at(__FILE__, __LINE__, (what_), (error_))

_Noreturn void fatal_at(const char *file, int line, const char *what, int error);

#endif
